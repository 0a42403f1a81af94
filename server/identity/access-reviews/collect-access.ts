/** What there is to confirm: who is here as what, who is in which team, who holds what in which workspace, and which keys work. */
import { createHash } from 'node:crypto';
import type { Actor } from '../../audit/index.ts';
import { canonicalJson } from '../../lib/canonical-json.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import type { Person } from '../access.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import type { Right } from '../rights.ts';
import type { Role } from '../schema.ts';
import { listAccounts, listFactors, listLiveKeys, listTeamMembers } from './queries.ts';
import type { Facts, ItemKind, Level } from './schema.ts';

export type WorkspaceHolder = { userId: string } | { teamId: string };

/** Workspaces as far as reviews need them; given when the server is put together, because they stand to the right. */
export interface ReviewWorkspaces {
  listHolders(
    db: Database,
    workspaceId?: string,
  ): Promise<{ workspaceId: string; userId: string | null; teamId: string | null; role: Level }[]>;
  /** Who can sign in and manages which; of one person when one is given. */
  listManagers(db: Database, userId?: string): Promise<{ workspaceId: string; userId: string }[]>;
  name(db: Database, ids: readonly string[]): Promise<Map<string, string>>;
  setRole(
    tx: WriteTransaction,
    change: { workspaceId: string; holder: WorkspaceHolder; role: Level },
    person: Person,
    actor: Actor,
  ): Promise<void>;
  remove(
    tx: WriteTransaction,
    change: { workspaceId: string; holder: WorkspaceHolder },
    person: Person,
    actor: Actor,
  ): Promise<void>;
}

export interface ReviewDeps extends PersonLifeDeps {
  workspaces: ReviewWorkspaces;
}

/** One thing that somebody has. */
export interface AccessThing {
  /** What it is, the same in each review: `workspace:<workspace>:user:<person>`. */
  thing: string;
  kind: ItemKind;
  userId: string | null;
  teamId: string | null;
  workspaceId: string | null;
  keyId: string | null;
  facts: Facts;
  /** Of what matters: another one is another access. */
  fingerprint: string;
}

type Names = Partial<Pick<AccessThing, 'userId' | 'teamId' | 'workspaceId' | 'keyId'>>;

/** @param only what concerns this thing; all when left out. */
export async function collectAccess(
  deps: Pick<ReviewDeps, 'workspaces'> & { clock: Clock },
  db: Database,
  lastSeen: ReadonlyMap<string, Date>,
  only?: Pick<AccessThing, 'kind'> & { user_id: string | null; workspace_id: string | null },
): Promise<Map<string, AccessThing>> {
  const wants = (kind: ItemKind) => only === undefined || only.kind === kind;
  const userId = only?.user_id ?? undefined;
  const things: AccessThing[] = [];
  if (wants('account')) things.push(...(await collectAccounts(db, lastSeen, userId)));
  if (wants('team'))
    for (const row of await listTeamMembers(db, userId))
      things.push(makeThing('team', { userId: row.user_id, teamId: row.team_id }, {}));
  if (wants('workspace'))
    for (const { role, ...holder } of await deps.workspaces.listHolders(db, only?.workspace_id ?? undefined))
      things.push(makeThing('workspace', holder, { level: role }));
  if (wants('api-key')) things.push(...(await collectKeys(db, deps.clock.now(), userId)));
  return new Map(things.map((one) => [one.thing, one]));
}

async function collectAccounts(
  db: Database,
  lastSeen: ReadonlyMap<string, Date>,
  userId: string | undefined,
): Promise<AccessThing[]> {
  const factors = Map.groupBy(await listFactors(db, userId), (row) => row.user_id);
  return (await listAccounts(db, userId)).map((row) => {
    const seen = { lastSeenAt: lastSeen.get(row.id)?.toISOString() ?? null };
    const state = row.disabled_at === null ? ('active' as const) : ('deactivated' as const);
    const has = (factors.get(row.id) ?? []).map(({ factor }) => factor);
    return makeThing('account', { userId: row.id }, { role: row.role as Role, state, factors: has }, seen);
  });
}

async function collectKeys(db: Database, now: Date, userId: string | undefined): Promise<AccessThing[]> {
  return (await listLiveKeys(db, now, userId)).map((row) => {
    const { name, prefix, networks } = row;
    return makeThing(
      'api-key',
      { userId: row.user_id, keyId: row.id, workspaceId: row.workspace_id },
      { name, prefix: `hf_${prefix}`, rights: row.rights.toSorted() as Right[], networks },
      { expiresAt: row.expires_at.toISOString(), lastUsedAt: row.last_used_at?.toISOString() ?? null },
    );
  });
}

/** @param passing facts that are told but are no change of access. */
function makeThing(kind: ItemKind, names: Names, stable: Facts, passing: Facts = {}): AccessThing {
  const all = { userId: null, teamId: null, workspaceId: null, keyId: null, ...names };
  const holder = all.userId === null ? `team:${all.teamId ?? ''}` : `user:${all.userId}`;
  const places = {
    account: `account:${all.userId ?? ''}`,
    team: `team:${all.teamId ?? ''}:user:${all.userId ?? ''}`,
    workspace: `workspace:${all.workspaceId ?? ''}:${holder}`,
    'api-key': `api-key:${all.keyId ?? ''}`,
  };
  const fingerprint = createHash('sha256').update(canonicalJson(stable)).digest('hex').slice(0, 32);
  return { thing: places[kind], kind, ...all, facts: { ...stable, ...passing }, fingerprint };
}
