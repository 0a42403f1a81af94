/** A real mail server (npm smtp-server) with TLS under a certificate authority of the test's own, that behaves as it is told. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import * as x509 from '@peculiar/x509';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

x509.cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;

export interface Authority {
  /** PEM. */
  certificate: string;
  /** A certificate of this authority for names such as `localhost`. */
  issue(name: string): Promise<{ key: string; cert: string }>;
}

export async function makeAuthority(): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const times = { notBefore: new Date(Date.now() - HOUR_MS), notAfter: new Date(Date.now() + 24 * HOUR_MS) };
  const own = await x509.X509CertificateGenerator.createSelfSigned({
    ...{ name: 'CN=Test authority', ...times, signingAlgorithm: ALGORITHM, keys },
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  return {
    certificate: own.toString('pem'),
    async issue(name) {
      const leaf = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
      const certificate = await x509.X509CertificateGenerator.create({
        ...{ subject: `CN=${name}`, issuer: own.subject, ...times, signingAlgorithm: ALGORITHM },
        ...{ publicKey: leaf.publicKey, signingKey: keys.privateKey },
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
        ],
      });
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leaf.privateKey));
      const body = (pkcs8.toString('base64').match(/.{1,64}/g) ?? []).join('\n');
      const key = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`;
      return { key, cert: certificate.toString('pem') };
    },
  };
}

export interface TakenMail {
  from: string;
  to: string[];
  /** As it came. */
  raw: string;
}

export interface MailServer {
  port: number;
  /** What it took, whole messages only. */
  taken: TakenMail[];
  /** Users that signed in, or tried. */
  users: string[];
  close(): Promise<void>;
}

export const MAIL_USER = { username: 'mailer', password: 'a password for mail' };

interface Behaviour {
  security?: 'implicit' | 'starttls' | 'none';
  /** In its certificate. */
  name?: string;
  maxVersion?: 'TLSv1.2' | 'TLSv1.3';
  /** Asked for each recipient: a refusal, such as `{ code: 450, message: 'come back later' }`. */
  refuse?: (to: string) => { code: number; message: string } | undefined;
  /** Called when the content begins; true: the connection is cut. */
  cut?: () => boolean;
}

export async function startMailServer(authority: Authority, behaviour: Behaviour = {}): Promise<MailServer> {
  const { security = 'implicit', name = 'localhost', maxVersion = 'TLSv1.3' } = behaviour;
  const taken: TakenMail[] = [];
  const users: string[] = [];
  const options: SMTPServerOptions = {
    ...(await authority.issue(name)),
    maxVersion,
    secure: security === 'implicit',
    disabledCommands: security === 'none' ? ['STARTTLS'] : [],
    authOptional: true,
    allowInsecureAuth: security === 'none',
    logger: false,
    onAuth({ username, password }, _session, callback) {
      users.push(username ?? '');
      const right = username === MAIL_USER.username && password === MAIL_USER.password;
      if (right) callback(null, { user: username });
      else callback(Object.assign(new Error('Invalid credentials'), { responseCode: 535 }));
    },
    onRcptTo({ address }, _session, callback) {
      const refusal = behaviour.refuse?.(address);
      if (refusal === undefined) callback();
      else callback(Object.assign(new Error(refusal.message), { responseCode: refusal.code }));
    },
    onData(stream, session, callback) {
      if (behaviour.cut?.() === true) {
        for (const connection of server.connections) connection.close();
        stream.resume();
        return;
      }
      const parts: Buffer[] = [];
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        taken.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(parts).toString('utf8'),
        });
        callback(null, 'Message queued as 4711');
      });
    },
  };
  const server = new SMTPServer(options);
  // A client that does not trust it ends the handshake; that is for the client's test to see.
  server.on('error', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.server.address() as AddressInfo;
  return {
    port,
    taken,
    users,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** The decoded part of a message of that type. */
export function partOf(mail: TakenMail | undefined, type: 'text/plain' | 'text/html'): string {
  const raw = mail?.raw ?? '';
  const start = raw.indexOf(`Content-Type: ${type}`);
  const [head = '', ...rest] = raw.slice(start).split('\r\n\r\n');
  const body = rest.join('\r\n\r\n').split('\r\n--')[0] ?? '';
  if (/base64/i.test(head)) return Buffer.from(body, 'base64').toString('utf8');
  if (!/quoted-printable/i.test(head)) return body;
  const bytes = body
    .replaceAll('=\r\n', '')
    .replaceAll(/=([0-9A-F]{2})/g, (_all, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
