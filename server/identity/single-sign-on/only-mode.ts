/**
 * Single sign-on as the only way in. Guarantees: nobody who could come in before is locked out by switching it on; people who are not
 * owners have no password here, and no factor but where the provider does not vouch for the second one that they must have; owners keep
 * password and second factor, and at least one of them has both, for the day on which the provider is away.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { queueMail } from '../../mail/index.ts';
import { removeAllFactors } from '../factors/enrolment.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { deletePendingOf, membersNeedSecondFactor } from '../factors/queries.ts';
import { namePeople, type PeopleDeps } from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { endSessionsOf } from '../sessions/sessions.ts';
import { vouchesForSecondFactor } from './local-credentials.ts';
import {
  findProvider,
  listCredentials,
  lockPeople,
  lockProvider,
  removePassword,
  setOnlySince,
  type CredentialRow,
  type ProviderRow,
} from './queries.ts';
import type { OnlyChange, OnlyPreview } from './schema.ts';

const MOST_NAMED = 100;

interface Plan {
  linked: CredentialRow[];
  passwords: CredentialRow[];
  factors: CredentialRow[];
  keeping: CredentialRow[];
  lockedOut: CredentialRow[];
  breakGlass: CredentialRow[];
  withoutPassword: number;
}

/** What switching it on would do. */
export async function previewOnly(deps: PeopleDeps): Promise<OnlyPreview> {
  const row = await findProvider(deps.db);
  const membersNeed = await membersNeedSecondFactor(deps.db);
  const plan = planOf(await listCredentials(deps.db), row, membersNeed);
  const shown = plan.lockedOut.slice(0, MOST_NAMED);
  const people = await namePeople(
    deps,
    shown.map(({ id }) => id),
  );
  return {
    since: row?.only_since?.toISOString() ?? null,
    linked: plan.linked.length,
    passwordsRemoved: plan.passwords.length,
    factorsRemoved: plan.factors.length,
    factorsKept: plan.keeping.length,
    lockedOut: shown.map(({ id, role }) => ({
      ...{ id, role },
      name: people.get(id)?.name ?? '',
      email: people.get(id)?.email ?? '',
    })),
    lockedOutCount: plan.lockedOut.length,
    breakGlassOwners: plan.breakGlass.length,
    obstacles: obstaclesOf(plan, row),
    withoutPassword: plan.withoutPassword,
  };
}

/** @throws HoldfastError `wrong_state` that names what stands against it; `conflict` when more people changed than the preview said. */
export async function changeOnly(
  deps: PersonLifeDeps,
  change: OnlyChange,
  actor: Actor,
): Promise<OnlyPreview> {
  await writeTransaction(deps.db, async (tx) => {
    // In the order of whoever signs in: first the person, then the provider. What begins now waits, and sees what this did.
    await lockPeople(tx);
    const row = await lockProvider(tx);
    if (change.on === (row?.only_since != null)) return;
    if (change.on) await switchOn(tx, deps, row, { linked: change.linked, actor });
    else await switchOff(tx, deps, actor);
  });
  crashPoint('identity.single-sign-on.only-changed');
  return previewOnly(deps);
}

async function switchOn(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  row: ProviderRow | undefined,
  { linked, actor }: { linked: number | undefined; actor: Actor },
): Promise<void> {
  const plan = planOf(await listCredentials(tx), row, await membersNeedSecondFactor(tx));
  const [obstacle] = obstaclesOf(plan, row);
  if (obstacle !== undefined) throw new HoldfastError('wrong_state', obstacle);
  if (linked !== plan.linked.length)
    throw new HoldfastError('conflict', 'The people concerned have changed since this was looked at', {
      hint: 'Look at the preview again.',
    });
  await setOnlySince(tx, deps.clock.now());
  let endedSessions = 0;
  for (const person of plan.linked) {
    await removePassword(tx, person.id);
    if (plan.factors.includes(person)) await removeAllFactors(tx, deps, person.id, actor);
    await deletePendingOf(tx, person.id);
    endedSessions += await endSessionsOf(tx, deps, person.id, 'single-sign-on-only');
    await tell(
      tx,
      deps,
      person.id,
      `From now on you sign in by ${row?.name ?? 'single sign-on'} only`,
      actor,
    );
  }
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.single-sign-on.made-only',
    objectType: 'setting',
    objectId: null,
    detail: {
      ...{ people: plan.linked.length, passwordsRemoved: plan.passwords.length },
      ...{ factorsRemoved: plan.factors.length, factorsKept: plan.keeping.length, endedSessions },
    },
  });
}

async function switchOff(tx: WriteTransaction, deps: PersonLifeDeps, actor: Actor): Promise<void> {
  await setOnlySince(tx, null);
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.single-sign-on.made-optional',
    objectType: 'setting',
    objectId: null,
  });
}

function planOf(everybody: CredentialRow[], row: ProviderRow | undefined, membersNeed: boolean): Plan {
  const owners = everybody.filter(({ role }) => role === 'owner');
  const others = everybody.filter(({ role }) => role !== 'owner');
  const linked = others.filter((person) => person.linked);
  const vouches = row !== undefined && vouchesForSecondFactor(row);
  const duty = (person: CredentialRow) => !vouches && needsSecondFactor(person.role, membersNeed);
  return {
    linked,
    passwords: linked.filter(({ password }) => password),
    factors: linked.filter((person) => person.factors && !duty(person)),
    keeping: linked.filter((person) => person.factors && duty(person)),
    lockedOut: others.filter((person) => !person.linked),
    breakGlass: owners.filter(({ password, factors }) => password && factors),
    withoutPassword: everybody.filter(({ password }) => !password).length,
  };
}

function obstaclesOf(plan: Plan, row: ProviderRow | undefined): string[] {
  const obstacles: string[] = [];
  if (row?.enabled !== true) obstacles.push('Single sign-on is not set up, or switched off');
  if (plan.lockedOut.length > 0)
    obstacles.push(
      plan.lockedOut.length === 1
        ? 'One person is not linked and could not sign in any more'
        : `${plan.lockedOut.length} people are not linked and could not sign in any more`,
    );
  if (plan.breakGlass.length === 0)
    obstacles.push('No owner has a password and a second factor here, for when the provider is away');
  return obstacles;
}

async function tell(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  userId: string,
  what: string,
  actor: Actor,
): Promise<void> {
  const address = actor.address === undefined ? {} : { address: actor.address };
  const detail = 'Your password here was removed.';
  const data = { what, detail, at: deps.clock.now().toISOString(), ...address };
  await queueMail(tx, deps, { to: { userId }, template: 'security-notice', data });
}
