/**
 * Hands one message to a mail server. Guarantees: nothing, not even the user's name, leaves without TLS to a server whose certificate
 * stands for the name that was set; TLS 1.3 with 256-bit suites unless the setting says 1.2.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { explainFailure, type SmtpProblem } from './explain-failure.ts';

export interface SmtpServer {
  host: string;
  port: number;
  /** `implicit`: TLS from the first byte; `starttls`: asked for in plain, and nothing else before it. */
  security: 'implicit' | 'starttls';
  leastTls: '1.3' | '1.2';
  /** PEM; when given, only these are trusted. */
  caCertificates: string | undefined;
  username: string | undefined;
  /** Secret. */
  password: string | undefined;
}

export interface SmtpMessage {
  from: { name: string; address: string };
  to: string;
  subject: string;
  text: string;
  html: string;
  /** The same at every try, so that a mailbox can tell a repetition. */
  messageId: string;
  date: Date;
}

export type Handover =
  { taken: true; replyCode: number; answer: string } | { taken: false; problem: SmtpProblem };

const CONNECT_MS = 15_000;
const SILENCE_MS = 60_000;
/** A server that answers one letter a minute must not hold up the others. */
export const HANDOVER_LIMIT_MS = 150_000;

const TLS13_SUITES = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const TLS12_SUITES = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
];

/** @param limitMs for the whole of it. Never throws for what a mail server or the way to it does. */
export async function handOver(
  server: SmtpServer,
  message: SmtpMessage,
  limitMs = HANDOVER_LIMIT_MS,
): Promise<Handover> {
  // Loaded when the first message is sent: a start does not need it.
  const { createTransport } = await import('nodemailer');
  const transport = createTransport(transportOptions(server));
  // Cuts the connection too: what goes on behind our back might still arrive, after it was put down as not sent.
  const late = AbortSignal.timeout(limitMs);
  try {
    const { from, to, subject, text, html, messageId, date } = message;
    const { response } = await transport.sendMail({
      ...{ from, to, subject, text, html, messageId, date },
      envelope: { from: from.address, to: [to] },
      // RFC 3834: nobody's out-of-office answers it.
      headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
      disableFileAccess: true,
      disableUrlAccess: true,
      signal: late,
    });
    return { taken: true, replyCode: Number(/^\d{3}/.exec(response)?.[0] ?? 250), answer: response };
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const cause = late.aborted ? Object.assign(new Error(), { code: 'ETIMEDOUT' }) : error;
    return { taken: false, problem: explainFailure(cause, server) };
  } finally {
    transport.close();
  }
}

function transportOptions(server: SmtpServer) {
  const { host, port, security, leastTls, caCertificates, username, password } = server;
  return {
    host,
    port,
    secure: security === 'implicit',
    requireTLS: security === 'starttls',
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    dnsTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    // A machine without a network has only this.
    allowInternalNetworkInterfaces: true,
    tls: {
      minVersion: leastTls === '1.3' ? ('TLSv1.3' as const) : ('TLSv1.2' as const),
      ciphers: [...TLS13_SUITES, ...(leastTls === '1.2' ? TLS12_SUITES : [])].join(':'),
      rejectUnauthorized: true,
      ...(caCertificates === undefined ? {} : { ca: caCertificates }),
    },
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' } }),
  };
}
