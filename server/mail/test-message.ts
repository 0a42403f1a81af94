/** The test button: one message at once, past the queue, with what the server said. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkMailAddress } from './mail-address.ts';
import { findSettings, updateSettings } from './queries.ts';
import { renderMail } from './render.ts';
import type { TestResult } from './schema.ts';
import type { SendDeps } from './send-mail.ts';
import { openServer } from './settings.ts';
import { handOver } from './smtp/hand-over.ts';
import { testMessage } from './templates/test-message.ts';

/** A person waits for it. */
const TEST_LIMIT_MS = 45_000;

/**
 * @param to an address; absent: the person's own.
 * @throws HoldfastError `wrong_state` when no mail server is set up; `invalid_input` for an address that is none.
 */
export async function sendTestMessage(
  deps: SendDeps,
  request: { to: string | undefined; userId: string | undefined },
  actor: Actor,
): Promise<TestResult> {
  const settings = await findSettings(deps.db);
  if (settings === undefined) {
    throw new HoldfastError('wrong_state', 'No mail server is set up', { hint: 'Save its settings first.' });
  }
  const to = request.to === undefined ? await ownAddress(deps, request.userId) : checkMailAddress(request.to);
  const now = deps.clock.now();
  const applianceName = await deps.applianceName();
  const composed = testMessage.compose({ askedAt: now.toISOString() }, { applianceName });
  const handover = await handOver(
    await openServer(deps, settings),
    {
      from: { name: settings.sender_name, address: settings.sender_address },
      to,
      ...renderMail(composed, `Sent by the Holdfast appliance ${applianceName}.`),
      messageId: `<${randomUUID()}@${settings.sender_address.split('@')[1] ?? ''}>`,
      date: now,
    },
    TEST_LIMIT_MS,
  );
  await writeTransaction(deps.db, async (tx) => {
    if (handover.taken) await updateSettings(tx, { last_sent_at: now, problem: null, problem_at: null });
    await recordAudit(tx, deps.clock, actor, {
      action: 'mail.test.sent',
      objectType: 'mail',
      result: handover.taken ? 'done' : 'failed',
      detail: handover.taken ? {} : { problem: handover.problem.kind },
    });
  });
  if (handover.taken) {
    const message = `${settings.host} took the message for ${to}`;
    return {
      taken: true,
      message,
      hint: 'Look whether it arrives, also among spam.',
      answer: handover.answer,
    };
  }
  const { message, hint, answer } = handover.problem;
  return { taken: false, message, hint, answer };
}

async function ownAddress(deps: SendDeps, userId: string | undefined): Promise<string> {
  const person = userId === undefined ? undefined : await deps.recipientOf(userId);
  if (person !== undefined) return person.email;
  throw new HoldfastError('invalid_input', 'Say to which address the test message goes');
}
