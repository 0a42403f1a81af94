/**
 * Tries a statement before it is kept: restores the database of the newest snapshot into scratch and asks it there, as a test would, under the same
 * role. Not the live database: that would need a role of its own with a way in, run what an administrator typed beside everybody's work, and
 * answer something else than a test does. No report comes of it, and it proves nothing.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { KeyClient } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { enqueueRun, getRun } from '../../lib/runs.ts';
import type { Run } from '../../lib/run-schema.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { checkStatement, hashStatement } from './assertions.ts';
import type { Question } from './schema.ts';

interface TrialDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status'>;
}

/** @throws HoldfastError `invalid_input`; `needs_kit` when only a kit opens the backups; `wrong_state` when a test is under way. */
export async function startTrial(deps: TrialDeps, actor: Actor, question: Question): Promise<Run> {
  checkStatement(question.sql);
  const { repository } = await deps.keys.status();
  if (repository.writeOnly) {
    throw new HoldfastError('needs_kit', 'This appliance keeps no key that opens its backups', {
      hint: 'Keep the assertion, and run a test with the recovery kit.',
    });
  }
  const id = randomUUID();
  await writeTransaction(deps.db, async (tx) => {
    await enqueueRun(tx, deps.clock, {
      ...{ id, kind: 'restore-test', requestedBy: actor.id },
      input: { trial: { sql: question.sql, expected: question.expected } },
      cause: actor.kind === 'console' ? 'console' : 'person',
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'restore-tests.assertion.tried',
      objectType: 'run',
      objectId: id,
      detail: { sqlSha256: hashStatement(question.sql), expected: question.expected },
    });
  });
  return getRun(deps.db, id);
}

/** What a queued trial asks; undefined when the run is no trial. */
export function readTrial(input: JsonObject): Question | undefined {
  const { trial } = input;
  return trial === undefined ? undefined : (trial as unknown as Question);
}
