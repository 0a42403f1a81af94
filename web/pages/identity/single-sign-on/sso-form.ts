/** What stands in the form of single sign-on, and what is wrong with it. */
import type { SingleSignOnChange, SingleSignOnReply } from '../../../api/single-sign-on.ts';

type Kept = SingleSignOnReply['settings'];

export interface SsoForm extends Omit<
  SingleSignOnChange,
  'scopes' | 'strongAcr' | 'strongAmr' | 'caCertificates' | 'groupsClaim' | 'clientSecret'
> {
  /** '' leaves the one that is kept. */
  clientSecret: string;
  caCertificates: string;
  groupsClaim: string;
  /** With spaces between. */
  scopes: string;
  /** One a line. */
  strongAcr: string;
  strongAmr: string;
}

export function toForm(kept: Kept): SsoForm {
  return {
    enabled: kept?.enabled ?? true,
    name: kept?.name ?? '',
    issuer: kept?.issuer ?? '',
    clientId: kept?.clientId ?? '',
    clientSecret: '',
    caCertificates: kept?.caCertificates ?? '',
    scopes: (kept?.scopes ?? ['openid', 'email', 'profile']).join(' '),
    groupsClaim: kept?.groupsClaim ?? '',
    roleGroups: kept?.roleGroups ?? [],
    teamGroups: kept?.teamGroups ?? [],
    otherRole: kept === null ? 'member' : kept.otherRole,
    makesAccounts: kept?.makesAccounts ?? false,
    strongAcr: (kept?.strongAcr ?? []).join('\n'),
    strongAmr: (kept?.strongAmr ?? []).join('\n'),
    logoutEndsKeys: kept?.logoutEndsKeys ?? false,
  };
}

/** Whether the secret would go another way than before, so that it must be typed again. */
export function goesElsewhere(form: SsoForm, kept: Kept): boolean {
  if (kept === null) return false;
  return (
    form.issuer.trim() !== kept.issuer ||
    form.clientId.trim() !== kept.clientId ||
    form.caCertificates.trim() !== (kept.caCertificates ?? '').trim()
  );
}

/** Why it cannot be saved; undefined when it can. */
export function faultOf(form: SsoForm, kept: Kept): string | undefined {
  if (form.name.trim() === '') return 'The button needs a name';
  if (!/^https:\/\/[^\s?#]+$/.test(form.issuer.trim())) return 'The issuer is an https address';
  if (form.clientId.trim() === '') return 'The client id is missing';
  if (form.clientSecret === '' && kept === null) return 'The client secret is missing';
  if (form.clientSecret === '' && goesElsewhere(form, kept))
    return 'Type the client secret again: it would go elsewhere';
  const groups = [...form.roleGroups, ...form.teamGroups];
  if (groups.some(({ group }) => group.trim() === '')) return 'A group has no name';
  if (form.teamGroups.some(({ teamId }) => teamId === '')) return 'A group has no team';
  if (groups.length > 0 && form.groupsClaim.trim() === '') return 'Name the claim that holds the groups';
  return undefined;
}

export function toChange(form: SsoForm): SingleSignOnChange {
  const { clientSecret, ...rest } = form;
  const optional = (text: string): string | null => (text.trim() === '' ? null : text.trim());
  return {
    ...rest,
    name: form.name.trim(),
    issuer: form.issuer.trim(),
    clientId: form.clientId.trim(),
    caCertificates: optional(form.caCertificates),
    groupsClaim: optional(form.groupsClaim),
    scopes: words(form.scopes, /\s+/),
    roleGroups: form.roleGroups.map(({ group, role }) => ({ group: group.trim(), role })),
    teamGroups: form.teamGroups.map(({ group, teamId }) => ({ group: group.trim(), teamId })),
    strongAcr: words(form.strongAcr, /\n/),
    strongAmr: words(form.strongAmr, /\n/),
    ...(clientSecret === '' ? {} : { clientSecret }),
  };
}

function words(text: string, between: RegExp): string[] {
  return text
    .split(between)
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
