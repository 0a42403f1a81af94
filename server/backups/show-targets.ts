/** Targets as people see them: where each is, what it has, and what it lacks against the others. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { waitsUntil } from '../lib/hours.ts';
import { workHoursOf } from './target-hours.ts';
import { paceOf } from './target-pace.ts';
import { readCatalogue } from './catalogue/open-catalogue.ts';
import { findCopyRun, findHolding } from './copy-queries.ts';
import { describeReadBack } from './read-back/keep-cycle.ts';
import { findLacking } from './lacking.ts';
import type { CopyProblem } from './copy-problems.ts';
import { findSignIn, listTargets, type TargetRow } from './queries.ts';
import { describeS3 } from './s3-targets.ts';
import type { TargetCopies, TargetProbe, TargetReply } from './schema.ts';
import { directoryConfigOf, locationOf, sftpSettingsOf } from './target-config.ts';
import { cataloguePath } from './target-repository.ts';
import { readFreeBytes } from './targets/free-space.ts';
import { LOCAL_COPY_LABEL } from './targets/probe.ts';

interface ShowDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
}

const GROWTH_MS = 30 * 86_400_000;
const GB = 1e9;

export async function showTargets(deps: ShowDeps): Promise<TargetReply[]> {
  return Promise.all((await listTargets(deps.db)).map((row) => toTargetReply(deps, row)));
}

export async function toTargetReply(deps: ShowDeps, row: TargetRow): Promise<TargetReply> {
  const probe = row.probe as TargetProbe | null;
  const copies = await describeCopies(deps, row);
  const price =
    row.price_per_gb_month === null || row.currency === null
      ? null
      : { perGbMonth: Number(row.price_per_gb_month), currency: row.currency };
  return {
    id: row.id,
    name: row.name,
    kind: row.kind as TargetReply['kind'],
    location: locationOf(row),
    sftp: row.kind === 'sftp' ? await describeSftp(deps, row) : null,
    s3: row.kind === 's3' ? await describeS3(deps, row) : null,
    region: row.region,
    regionKnownBy: row.region_known_by,
    sameDisk: row.same_disk,
    label: row.same_disk ? LOCAL_COPY_LABEL : null,
    probe,
    // A page does not connect to a server: what the last trial found is shown.
    freeBytes:
      row.kind === 'directory'
        ? await readFreeBytes(directoryConfigOf(row).path, probe)
        : (probe?.freeBytes ?? null),
    state: row.state as TargetReply['state'],
    lastOkAt: row.last_ok_at?.toISOString() ?? null,
    lastError: row.last_error as TargetReply['lastError'],
    createdAt: row.created_at.toISOString(),
    position: row.position,
    copies,
    readBack: await describeReadBack(deps, row),
    price,
    pace: paceOf(row),
    workHours: workHoursOf(row),
    waitsUntil: waitsUntil(workHoursOf(row), deps.clock.now())?.toISOString() ?? null,
    monthlyCost: price === null ? null : (copies.sizeBytes / GB) * price.perGbMonth,
  };
}

async function describeSftp(deps: Pick<ShowDeps, 'db'>, row: TargetRow): Promise<TargetReply['sftp']> {
  const { host, port, username, path, hostKey, signInId } = sftpSettingsOf(row);
  const kept = signInId === undefined ? undefined : await findSignIn(deps.db, signInId);
  return {
    ...{ host, port, username, path, hostKey },
    signsInBy: (kept?.kind as 'password' | undefined) ?? null,
    publicKey: kept?.public_key ?? null,
  };
}

async function describeCopies(deps: ShowDeps, row: TargetRow): Promise<TargetCopies> {
  const active = row.state === 'active';
  const since = new Date(deps.clock.now().getTime() - GROWTH_MS);
  const [lacking, holding, runId] = await Promise.all([
    active ? findLacking(deps, row) : [],
    findHolding(deps.db, row.id, since),
    active ? findCopyRun(deps.db, row.id) : undefined,
  ]);
  const { newest } = holding;
  const size = newest === undefined ? undefined : readSize(deps.dataDir, newest.repository_id, row);
  const problem = (row.copy_problem ?? row.last_error) as CopyProblem | null;
  return {
    state: stateOf({
      row,
      behind: lacking.length,
      running: runId !== undefined,
      problem,
      has: newest !== undefined,
    }),
    behind: lacking.length,
    behindBytes: lacking.reduce((sum, one) => sum + one.storedBytes, 0),
    behindSince: lacking[0]?.takenAt.toISOString() ?? null,
    problem: active ? problem : null,
    triedAt: row.copy_tried_at?.toISOString() ?? null,
    runId: runId ?? null,
    snapshots: holding.count,
    newest:
      newest === undefined
        ? null
        : { id: newest.id, number: newest.number, takenAt: newest.taken_at.toISOString() },
    provenAt: holding.provenAt?.toISOString() ?? null,
    verifiedAt: row.verified_at?.toISOString() ?? null,
    sizeBytes: size ?? holding.storedBytes,
    sizeExact: size !== undefined,
    grownBytes: holding.grownBytes,
  };
}

/** All packs that its catalogue knows; undefined where there is none that can be read. */
function readSize(dataDir: string, repositoryId: string, row: TargetRow): number | undefined {
  return readCatalogue(
    cataloguePath(dataDir, repositoryId, row),
    (catalogue) => catalogue.packStats().sizeBytes,
  );
}

/** Pure. */
export function stateOf(facts: {
  row: Pick<TargetRow, 'state'>;
  behind: number;
  running: boolean;
  problem: CopyProblem | null;
  has: boolean;
}): TargetCopies['state'] {
  if (facts.row.state !== 'active') return 'retired';
  if (facts.running) return 'copying';
  // What another one is to blame for is told there.
  if (facts.problem !== null && facts.problem.source === undefined) return 'away';
  if (facts.behind > 0) return 'behind';
  return facts.has ? 'up-to-date' : 'empty';
}
