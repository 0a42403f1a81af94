/** What stands in the form of single sign-on, and what is wrong with it. */
import type { SingleSignOnChange, SingleSignOnReply } from '../../../api/single-sign-on.ts';

type Kept = SingleSignOnReply['settings'];

export interface SsoForm extends Omit<
  SingleSignOnChange,
  'scopes' | 'strongAcr' | 'strongAmr' | 'caCertificates' | 'groupsClaim' | 'clientSecret' | 'version'
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

/** Whom saving it may shut out or let in, in words; undefined: nobody. @param linkedPeople with the provider as it is. */
export function riskOf(form: SsoForm, kept: Kept, linkedPeople: number): string | undefined {
  if (kept === null) return undefined;
  if (form.issuer.trim() !== kept.issuer && linkedPeople > 0)
    return `This is another provider. ${linkedPeople === 1 ? 'One person is' : `${String(linkedPeople)} people are`} linked with the one before, and not with this one: they sign in by it only after they have linked again. Whoever has no password here gets one by a reset link first.`;
  const rules = (of: Pick<SsoForm, 'roleGroups' | 'otherRole'>) =>
    JSON.stringify([of.roleGroups, of.otherRole]);
  if (rules(form) !== rules(toForm(kept)))
    return 'Roles are given by these rules at each next sign-in. Whoever is in none of the groups keeps out, and what they have open ends, unless others may come in too.';
  return undefined;
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

/** @param kept what the form was made from. */
export function toChange(form: SsoForm, kept: Kept): SingleSignOnChange {
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
    version: kept?.version ?? '',
  };
}

function words(text: string, between: RegExp): string[] {
  return text
    .split(between)
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
