/** Acts of one entry each, as fast as they come; then the proof that each of them stands in the log. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import {
  createLogVerifier,
  exportLog,
  makeCheckpoint,
  recordAudit,
  startSequencer,
  treeSize,
  verifyEntryProof,
  type Actor,
} from '../../../server/audit/index.ts';
import { makeEntryProof } from '../../../server/audit/entry-proof.ts';
import { systemClock as clock } from '../../../server/lib/clock.ts';
import { writeTransaction, type Database } from '../../../server/lib/db.ts';
import { createLog } from '../../../server/lib/log.ts';
import { startSigner, type Signer } from './signer.ts';
import type { LogPlace } from './log-place.ts';

const SIGN_EVERY_MS = 10_000;
const PROOFS = 1_000;
const AIM_PER_SECOND = 1_000;

interface AppendOptions {
  seconds: number;
  /** Acts at the same time. */
  writers: number;
  say(text: string): void;
}

export async function measureAppend(
  place: LogPlace,
  { seconds, writers, say }: AppendOptions,
): Promise<void> {
  const signer = await startSigner(place.folder);
  try {
    const { written, worstSecond, mostWaiting } = await append(place.db, signer, { seconds, writers });
    const perSecond = Math.round(written / seconds);
    say(
      `${written} acts in ${seconds} s by ${writers} writers: ${perSecond} a second, worst second ${worstSecond}`,
    );
    say(
      `waiting for a place: at most ${mostWaiting}; aim ${AIM_PER_SECOND} a second ${perSecond >= AIM_PER_SECOND ? 'met' : 'MISSED'}`,
    );
    await check(place.db, signer, { written, say });
  } finally {
    await signer.close();
  }
}

async function append(db: Database, { keys }: Signer, { seconds, writers }: Omit<AppendOptions, 'say'>) {
  const sequencer = startSequencer({ db, log: createLog('warn', 'bench') });
  const perSecond = new Array<number>(seconds).fill(0);
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1000;
  const write = async (): Promise<void> => {
    const actor: Actor = { kind: 'user', id: randomUUID(), sessionId: randomUUID(), address: '192.0.2.7' };
    while (performance.now() < endsAt) {
      await writeTransaction(db, (tx) =>
        recordAudit(
          tx,
          clock,
          { ...actor, requestId: randomUUID() },
          {
            action: 'workspaces.files.uploaded',
            objectType: 'folder',
            objectId: randomUUID(),
            detail: { files: 3, sizeBytes: 12_345 },
          },
        ),
      );
      const second = Math.floor((performance.now() - startedAt) / 1000);
      if (second < seconds) perSecond[second] = (perSecond[second] ?? 0) + 1;
    }
  };
  let mostWaiting = 0;
  const watch = async (): Promise<void> => {
    for (let signedAt = startedAt; performance.now() < endsAt;) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const { rows } = await sql<{
        waiting: number;
      }>`select count(*)::int as waiting from audit_pending`.execute(db);
      mostWaiting = Math.max(mostWaiting, rows[0]?.waiting ?? 0);
      if (performance.now() - signedAt < SIGN_EVERY_MS) continue;
      signedAt = performance.now();
      await makeCheckpoint({ db, clock, keys });
    }
  };
  await Promise.all([watch(), ...Array.from({ length: writers }, write)]);
  await sequencer.stop();
  const { rows } = await sql<{ written: number }>`select count(*)::int as written from audit_entries`.execute(
    db,
  );
  return { written: rows[0]?.written ?? 0, worstSecond: Math.min(...perSecond), mostWaiting };
}

async function check(
  db: Database,
  { keys, trust }: Signer,
  { written, say }: { written: number; say(text: string): void },
) {
  const deps = { db, clock, keys };
  await makeCheckpoint(deps);
  const size = await treeSize(db);
  const startedAt = performance.now();
  const verifier = createLogVerifier({ trust });
  for await (const line of exportLog(deps)) verifier.line(Buffer.from(line));
  const report = verifier.end();
  const verifiedMs = performance.now() - startedAt;
  const whole = report.ok && report.entries === size && size >= written;
  say(
    `exported and verified: ${report.entries} entries, ${report.checkpoints} heads, ${report.findingCount} findings, ${(verifiedMs / 1000).toFixed(1)} s`,
  );
  const { rows } = await sql<{ id: string }>`
    select id from audit_entries order by random() limit ${PROOFS}`.execute(db);
  const provenAt = performance.now();
  for (const { id } of rows) verifyEntryProof(await makeEntryProof(deps, id), trust);
  const each = (performance.now() - provenAt) / rows.length;
  say(`${rows.length} entries chosen at random proven one by one, ${each.toFixed(1)} ms each`);
  if (!whole) throw new Error(`The log is not whole: ${JSON.stringify(report.findings.slice(0, 5))}`);
}
