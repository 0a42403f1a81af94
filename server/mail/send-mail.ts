/**
 * Sends what is queued. Guarantees: one process at a time has a message, by a lease in its row; a process that dies between handing
 * over and noting it leaves a lease that ends, and the message is sent again with the same Message-ID (at least once). A message that
 * ended keeps neither its content nor its links.
 */
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import {
  countAttemptsSince,
  expireMessages,
  findSettings,
  lockDueMessage,
  lockSettings,
  recordAttempt,
  updateMessage,
  updateSettings,
  type MessageRow,
  type SettingsRow,
} from './queries.ts';
import { mailField } from './queue-mail.ts';
import { renderMail } from './render.ts';
import { openServer, type MailSettingsDeps } from './settings.ts';
import type { SmtpProblem } from './smtp/explain-failure.ts';
import { handOver, HANDOVER_LIMIT_MS, type Handover, type SmtpServer } from './smtp/hand-over.ts';
import { findTemplate } from './templates/all-templates.ts';

/** A person as mail needs them. */
export interface MailPerson {
  name: string;
  email: string;
}

export interface SendDeps extends MailSettingsDeps {
  clock: Clock;
  log: Logger;
  /** Undefined for somebody who is no more, or whose address cannot be read. */
  recipientOf(userId: string): Promise<MailPerson | undefined>;
  applianceName(): Promise<string>;
  /** True while this appliance may be a copy of another one: it sends nothing then. */
  isHeld(): Promise<boolean>;
}

const LOOK_EVERY_MS = 2_000;
const MINUTE_MS = 60_000;
/** Longer than any try may take. */
const LEASE_MS = HANDOVER_LIMIT_MS + MINUTE_MS;
/** After a failure that is the server's, nothing else is tried for this long. */
const SERVER_PAUSE_MS = 30_000;
/** After wrong credentials: a service locks an account that is tried with them again and again. New settings are tried at once. */
const SIGN_IN_PAUSE_MS = 15 * MINUTE_MS;
const LONGEST_WAIT_MS = 4 * 60 * MINUTE_MS;

/** Looks every two seconds, in this process; `stop` waits for a message under way. */
export function startMailSender(deps: SendDeps): { stop(): Promise<void> } {
  let stopping = false;
  let work = Promise.resolve();
  const isStopping = () => stopping;
  const look = () => {
    work = work
      .then(async () => {
        while (!isStopping() && (await sendNext(deps)));
      })
      .catch((error: unknown) => {
        deps.log.error({ err: error }, 'Sending mail failed; it is tried again');
      });
  };
  let idle = true;
  const timer = setInterval(() => {
    if (!idle) return;
    idle = false;
    look();
    void work.finally(() => (idle = true));
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    stop: async () => {
      stopping = true;
      clearInterval(timer);
      await work;
    },
  };
}

/** Tries one message that is due. @returns whether there was one. */
export async function sendNext(deps: SendDeps): Promise<boolean> {
  const settings = await findSettings(deps.db);
  if (settings === undefined || settings.paused || (await deps.isHeld())) return false;
  const leased = await leaseMessage(deps);
  if (leased === undefined) return false;
  crashPoint('mail.message.leased');
  const startMs = deps.clock.monotonicMs();
  const handover = await tryMessage(deps, leased.settings, leased.message);
  crashPoint('mail.message.handed-over');
  await recordEnd(deps, leased.message, handover);
  crashPoint('mail.message.recorded');
  deps.log.info(
    {
      mail: leased.message.id,
      template: leased.message.template,
      result: handover.taken ? 'sent' : handover.problem.kind,
      attempt: leased.message.attempts,
      ms: Math.round(deps.clock.monotonicMs() - startMs),
    },
    handover.taken ? 'Mail was sent' : 'Mail was not sent',
  );
  return true;
}

interface Leased {
  settings: SettingsRow;
  message: MessageRow;
}

async function leaseMessage(deps: SendDeps): Promise<Leased | undefined> {
  return writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    // Held by one process at a time, so that the rate is that of all of them.
    const settings = await lockSettings(tx);
    if (settings === undefined || settings.paused) return undefined;
    await expireMessages(tx, now);
    if (isPausedByServer(settings, now)) return undefined;
    const recent = await countAttemptsSince(tx, new Date(now.getTime() - MINUTE_MS));
    if (recent >= settings.messages_a_minute) return undefined;
    const due = await lockDueMessage(tx, now);
    if (due === undefined) return undefined;
    const change = {
      attempts: due.attempts + 1,
      last_attempt_at: now,
      leased_until: new Date(now.getTime() + LEASE_MS),
      message_id: due.message_id ?? `<${due.id}@${settings.sender_address.split('@')[1] ?? ''}>`,
    };
    await updateMessage(tx, due.id, change);
    return { settings, message: { ...due, ...change } };
  });
}

function isPausedByServer({ problem, problem_at: at }: SettingsRow, now: Date): boolean {
  if (at === null) return false;
  const { code } = (problem ?? {}) as { code?: string };
  return now.getTime() - at.getTime() < (code === 'sign-in' ? SIGN_IN_PAUSE_MS : SERVER_PAUSE_MS);
}

async function tryMessage(deps: SendDeps, settings: SettingsRow, message: MessageRow): Promise<Handover> {
  let server: SmtpServer;
  try {
    server = await openServer(deps, settings);
    const to = await addressOf(deps, message);
    if (to === undefined) return notOurs('recipient', 'This person has no address that can be read');
    const rendered = await render(deps, message);
    return await handOver(server, {
      from: { name: settings.sender_name, address: settings.sender_address },
      to,
      ...rendered,
      messageId: message.message_id ?? '',
      date: message.created_at,
    });
  } catch (error) {
    // What cannot be opened now (keyd is away) may be later; what cannot be composed never will.
    const passing = error instanceof HoldfastError && error.code === 'unavailable';
    deps.log.error({ err: error, mail: message.id }, 'A message could not be made');
    return notOurs('content', messageOf(error), passing);
  }
}

function notOurs(kind: SmtpProblem['kind'], message: string, passing = false): Handover {
  return {
    taken: false,
    problem: { kind, concerns: 'message', passing, message, hint: '', answer: '', replyCode: undefined },
  };
}

async function addressOf(deps: SendDeps, message: MessageRow): Promise<string | undefined> {
  if (message.user_id !== null) return (await deps.recipientOf(message.user_id))?.email;
  return message.address_sealed === null
    ? undefined
    : openPart(deps, message.id, 'mail-address', message.address_sealed);
}

async function render(deps: SendDeps, message: MessageRow) {
  const template = findTemplate(message.template);
  if (template === undefined || message.data_sealed === null)
    throw new HoldfastError('internal', 'This version has no such template');
  const data = JSON.parse(await openPart(deps, message.id, 'mail-data', message.data_sealed)) as never;
  const applianceName = await deps.applianceName();
  return renderMail(
    template.compose(data, { applianceName }),
    `Sent by the Holdfast appliance ${applianceName}.`,
  );
}

/** Opens a sealed part of a message. */
export async function openPart(
  deps: Pick<MailSettingsDeps, 'keys' | 'sealer'>,
  id: string,
  type: Parameters<typeof mailField>[0],
  sealed: Buffer,
): Promise<string> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [opened] = await deps.sealer.open([
    { keyId, purpose: 'secrets', context: mailField(type, id), sealed },
  ]);
  if (opened === undefined) throw new HoldfastError('internal', 'Opening gave nothing back');
  return opened.toString('utf8');
}

async function sealAnswer(deps: SendDeps, id: string, words: string): Promise<Buffer | undefined> {
  const { id: keyId } = await deps.keys.applianceKey();
  const context = mailField('mail-answer', id);
  const [answer] = await deps.sealer.seal([
    { keyId, purpose: 'secrets', context, value: words.slice(0, 1000) },
  ]);
  return answer;
}

async function recordEnd(deps: SendDeps, message: MessageRow, handover: Handover): Promise<void> {
  const now = deps.clock.now();
  const words = handover.taken
    ? handover.answer
    : [handover.problem.message, handover.problem.answer].filter((part) => part !== '').join(': ');
  // That it was taken must be written down also while the keyring is away, or it goes out again.
  const answer = await sealAnswer(deps, message.id, words).catch(() => undefined);
  await writeTransaction(deps.db, async (tx) => {
    const ours = await recordAttempt(tx, message, {
      ...endOf(message, handover, now),
      answer_sealed: answer ?? null,
    });
    if (!ours) return;
    if (handover.taken) await updateSettings(tx, { last_sent_at: now, problem: null, problem_at: null });
    else if (handover.problem.concerns === 'server') {
      const { kind: code, message: said, hint } = handover.problem;
      await updateSettings(tx, {
        problem: JSON.stringify({ code, message: said, hint }),
        problem_at: now,
      });
    }
  });
}

function endOf(message: MessageRow, handover: Handover, now: Date) {
  if (handover.taken) {
    return {
      ...{ state: 'sent', data_sealed: null, next_attempt_at: null, ended_at: now, problem: null },
      reply_code: handover.replyCode,
    };
  }
  const { kind: problem, passing, replyCode } = handover.problem;
  const said = { problem, reply_code: replyCode ?? null };
  if (!passing) return { ...said, state: 'failed', next_attempt_at: null, ended_at: now };
  return { ...said, next_attempt_at: new Date(now.getTime() + waitAfter(message.attempts)) };
}

/** One minute, doubled with every try up to four hours, give or take a fifth so that many do not come at once. */
export function waitAfter(attempts: number, random = Math.random()): number {
  const waitMs = Math.min(LONGEST_WAIT_MS, MINUTE_MS * 2 ** Math.min(attempts - 1, 20));
  return Math.round(waitMs * (0.8 + 0.4 * random));
}
