/** What a mail server's refusal, or the way to it, means in plain words, and whether trying again can help. */
import type { SmtpServer } from './hand-over.ts';

export interface SmtpProblem {
  kind:
    | 'name'
    | 'unreachable'
    | 'timeout'
    | 'certificate'
    | 'encryption'
    | 'sign-in'
    | 'sender'
    | 'recipient'
    | 'content'
    | 'busy'
    | 'broken';
  /** `server`: no message would get through; `message`: this one does not. */
  concerns: 'server' | 'message';
  /** False: trying again does not help. */
  passing: boolean;
  message: string;
  hint: string;
  /** What the server said, shortened; '' when it said nothing. May name addresses. */
  answer: string;
  replyCode: number | undefined;
}

/** What the library says of a failure; @see its `errors` */
interface LibraryError {
  code?: string;
  command?: string;
  originalCode?: string;
  response?: string;
  responseCode?: number;
  message?: string;
}

type Words = Pick<SmtpProblem, 'kind' | 'concerns' | 'passing' | 'message' | 'hint'>;

const ANSWER_LIMIT = 500;

export function explainFailure(
  error: unknown,
  server: Pick<SmtpServer, 'host' | 'port' | 'leastTls'>,
): SmtpProblem {
  const failure: LibraryError = error instanceof Error ? error : {};
  const answer = (failure.response ?? '').replace(/[\p{Cc}]+/gu, ' ').slice(0, ANSWER_LIMIT);
  const words =
    failure.responseCode === undefined ? explainWay(failure, server) : explainReply(failure, server);
  return { ...words, answer, replyCode: failure.responseCode };
}

/** The server answered, and not with yes. */
function explainReply(failure: LibraryError, { host }: Pick<SmtpServer, 'host'>): Words {
  const passing = (failure.responseCode ?? 500) < 500;
  const command = failure.command ?? '';
  if (failure.code === 'EAUTH' || failure.responseCode === 530) {
    return server(
      'sign-in',
      `${host} does not accept the user and password`,
      'Check both; some services want a password made for this program alone.',
    );
  }
  if (command === 'STARTTLS' || failure.code === 'ETLS')
    return server(
      'encryption',
      `${host} does not offer encryption on this port`,
      'Use port 465 with TLS from the first byte, or another server. Mail is never sent without encryption.',
    );
  if (command === 'MAIL FROM' && !passing)
    return server(
      'sender',
      `${host} does not let this appliance send under its sender address`,
      'Use an address that belongs to the account, or let the service allow it.',
    );
  if (passing) {
    return {
      ...{ kind: 'busy', concerns: 'message', passing: true },
      message: `${host} asks to come back later`,
      hint: 'Many servers do so with a sender they do not know yet. It is tried again by itself.',
    };
  }
  // RFC 3463, 3.8: not allowed, which is seldom about whoever it is for.
  if (command === 'RCPT TO' && /^\d{3}[ -]5\.7\./.test(failure.response ?? '')) {
    return {
      ...{ kind: 'sender', concerns: 'message', passing: true },
      message: `${host} does not let this appliance send to this address`,
      hint: 'It may want a user and a password, or pass mail on to its own addresses only. It is tried again by itself.',
    };
  }
  if (command === 'RCPT TO') {
    return {
      ...{ kind: 'recipient', concerns: 'message', passing: false },
      message: `${host} does not take mail for this address`,
      hint: 'Check the address with the person it belongs to.',
    };
  }
  if (command === 'DATA') {
    return {
      ...{ kind: 'content', concerns: 'message', passing: false },
      message: `${host} took the addresses and refused the message`,
      hint: 'Its answer says why; often it takes it for spam. Ask whoever runs it to let mail of this sender pass.',
    };
  }
  return server(
    'broken',
    `${host} refuses to talk to this appliance`,
    'Its answer says why. Ask whoever runs it.',
  );
}

/** There was no answer to a command: the way to the server, or its encryption, failed. */
function explainWay(
  failure: LibraryError,
  { host, port, leastTls }: Pick<SmtpServer, 'host' | 'port' | 'leastTls'>,
): Words {
  const said = `${failure.originalCode ?? ''} ${failure.message ?? ''}`;
  if (failure.code === 'EDNS' || /ENOTFOUND|EAI_AGAIN/.test(said))
    return server(
      'name',
      `The name ${host} is not known`,
      'Check how it is written, and the name servers of this machine.',
    );
  if (/certificate|altname|self.signed|CERT_|UNABLE_TO_(GET|VERIFY)/i.test(said))
    return server(
      'certificate',
      `${host} does not prove that it is ${host}: ${certificateFault(said)}`,
      'Use the name that stands in its certificate; for a private certificate authority, give its certificate.',
    );
  if (/SSL|TLS|protocol version|handshake|wrong version/i.test(said)) {
    const hint =
      leastTls === '1.3'
        ? 'It may speak TLS 1.2 only, which can be allowed below, or this port may want the other kind of encryption.'
        : 'This port may want the other kind of encryption: 465 speaks TLS from the first byte, 587 after STARTTLS.';
    return server('encryption', `No encrypted connection with ${host} came about`, hint);
  }
  if (failure.code === 'ETIMEDOUT' || said.includes('ETIMEDOUT'))
    return server(
      'timeout',
      `${host} did not answer in time on port ${port}`,
      'Check the port, and that firewalls between here and there let it through.',
    );
  if (/ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES|EPERM/.test(said))
    return server(
      'unreachable',
      `${host} cannot be reached on port ${port}`,
      'Check host and port. On a machine of ours only ports under Appliance, Network may be called.',
    );
  if (failure.code === 'EAUTH' || failure.code === 'ENOAUTH')
    return server(
      'sign-in',
      `${host} offers no way to sign in that this appliance knows`,
      'Leave the user empty if it wants none.',
    );
  return server(
    'broken',
    `The connection with ${host} broke off`,
    'It is tried again by itself. If it stays, ask whoever runs the server.',
  );
}

function certificateFault(said: string): string {
  if (/altname|ALTNAME/i.test(said)) return 'its certificate is for another name';
  if (/expired/i.test(said)) return 'its certificate has run out';
  return 'its certificate comes from nobody who is trusted here';
}

/** Passing: whoever runs the server, or changes the settings, can help. */
function server(kind: SmtpProblem['kind'], message: string, hint: string): Words {
  return { kind, concerns: 'server', passing: true, message, hint };
}
