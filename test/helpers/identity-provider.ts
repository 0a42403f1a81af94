/** A real OpenID provider for tests: the certified `oidc-provider` over TLS on a free port of this machine, with a CA of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWTPayload } from 'jose';
import type Provider from 'oidc-provider';
import { tool } from './tools.ts';

const run = promisify(execFile);

/** Who signs in at the provider next. */
export interface ProviderPerson {
  sub: string;
  email?: string;
  email_verified?: boolean;
  name?: string;
  groups?: string[];
  acr?: string;
  amr?: string[];
}

export interface IdentityProvider {
  issuer: string;
  /** By which its own certificate is trusted, PEM. */
  root: string;
  clientId: string;
  clientSecret: string;
  person: ProviderPerson;
  /** Requests by path, for tests of how often it is asked. */
  asked: Map<string, number>;
  /** The newest session that ID tokens named, by subject. */
  lastSid: Map<string, string>;
  /** False: whoever has signed in in this browser is not asked again, also not when that is demanded. */
  asksAgain: boolean;
  /** Goes there as a browser does, and comes back with what it gave. @param jar cookies of the provider, kept between visits. */
  visit(url: string, jar?: Map<string, string>): Promise<Record<string, string>>;
  /** Signs with new keys from now on, and forgets the old. */
  rotate(): Promise<void>;
  /** A token with the claims of a good logout token, changed by these, signed by the present key. */
  logoutToken(claims: JWTPayload, head?: { alg?: string; typ?: string; kid?: string }): Promise<string>;
  /** Sends the logout messages that a provider sends when this session ends. */
  endSession(sub: string, sid: string): Promise<void>;
  /** Takes its logout messages to where they go. */
  deliver(form: string): Promise<{ status: number }>;
  /** Answers nobody until `start`. */
  pause(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Changes the ID token that it gives, as somebody could who stands between. */
  forge: ((idToken: string) => Promise<string>) | undefined;
  /** Of the key that signs now. */
  signingKey(): { key: CryptoKey; kid: string };
}

export async function startIdentityProvider(options: {
  redirectUris: string[];
  logoutUri: string;
}): Promise<IdentityProvider> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-oidc-'));
  const { certificate, privateKey, root } = await makeCertificate(folder);
  await rm(folder, { recursive: true, force: true });
  const { default: Maker } = await import('oidc-provider');
  const client = { id: 'holdfast', secret: 'a secret of the client, 0123456789' };
  let current: Provider;
  let signing: { key: CryptoKey; kid: string };
  let port = 0;
  let server: Server;

  const self: IdentityProvider = {
    ...{ issuer: '', root, clientId: client.id, clientSecret: client.secret, asksAgain: true },
    person: { sub: 'nobody' },
    forge: undefined,
    asked: new Map(),
    lastSid: new Map(),
    visit: (url, jar = new Map()) => follow(url, root, jar),
    rotate: async () => {
      current = await makeProvider();
    },
    logoutToken: async (claims, head = {}) => {
      const now = Math.floor(Date.now() / 1000);
      const all = {
        ...{ iss: self.issuer, aud: client.id, iat: now, exp: now + 120, jti: crypto.randomUUID() },
        events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
        ...claims,
      };
      const { alg = 'RS256', typ = 'logout+jwt', kid = signing.kid } = head;
      return new SignJWT(JSON.parse(JSON.stringify(all)) as JWTPayload)
        .setProtectedHeader({ alg, typ, kid })
        .sign(signing.key);
    },
    endSession: async (sub, sid) => {
      const found = await current.Client.find(client.id);
      await (
        found as unknown as { backchannelLogout(sub: string, sid: string): Promise<void> }
      ).backchannelLogout(sub, sid);
    },
    deliver: () => Promise.resolve({ status: 200 }),
    pause: () => closeServer(server),
    start: async () => {
      server = await listen(port);
    },
    stop: () => closeServer(server),
    signingKey: () => signing,
  };

  const makeProvider = async () => {
    const pair = await generateKeyPair('RS256', { extractable: true });
    signing = { key: pair.privateKey, kid: crypto.randomUUID() };
    const jwk = { ...(await exportJWK(pair.privateKey)), kid: signing.kid, alg: 'RS256', use: 'sig' };
    return new Maker(self.issuer, {
      clients: [
        {
          ...{ client_id: client.id, client_secret: client.secret, redirect_uris: options.redirectUris },
          ...{ backchannel_logout_uri: options.logoutUri, backchannel_logout_session_required: true },
        },
      ],
      jwks: { keys: [jwk] },
      cookies: { keys: ['of a test'] },
      scopes: ['openid', 'email', 'profile', 'groups', 'offline_access'],
      claims: {
        openid: ['sub', 'acr', 'amr'],
        email: ['email', 'email_verified'],
        profile: ['name'],
        groups: ['groups'],
      },
      acrValues: ['gold', 'silver'],
      features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
      pkce: { required: () => true },
      interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
      findAccount: (_context, sub) => ({
        accountId: sub,
        claims: () => {
          const { email, email_verified, name, groups } = self.person;
          return { sub, email, email_verified, name, groups };
        },
      }),
      loadExistingGrant: async (context) => {
        const grant = new context.oidc.provider.Grant({
          clientId: context.oidc.client?.clientId ?? '',
          accountId: context.oidc.session?.accountId ?? '',
        });
        grant.addOIDCScope('openid email profile groups');
        await grant.save();
        return grant;
      },
      fetch: async (_url, asked) => {
        const { body } = asked as { body?: string | URLSearchParams };
        const { status } = await self.deliver(body?.toString() ?? '');
        return new Response(null, { status });
      },
    });
  };

  const answer = async (asked: IncomingMessage, reply: ServerResponse) => {
    const path = (asked.url ?? '').split('?')[0] ?? '';
    self.asked.set(path, (self.asked.get(path) ?? 0) + 1);
    if (path === '/token') watchAnswer(reply, self);
    if (!path.startsWith('/interaction/')) {
      void current.callback()(asked, reply);
      return;
    }
    const { sub, acr, amr } = self.person;
    const ts = self.asksAgain ? {} : { ts: 1 };
    const login = {
      accountId: sub,
      ...(acr === undefined ? {} : { acr }),
      ...(amr === undefined ? {} : { amr }),
      ...ts,
    };
    await current.interactionFinished(asked, reply, { login });
  };
  const listen = async (at: number) => {
    const made = createServer({ cert: certificate, key: privateKey }, (asked, reply) => {
      answer(asked, reply).catch((error: unknown) => {
        reply.statusCode = 500;
        reply.end(String(error));
      });
    });
    await new Promise<void>((resolve) => made.listen(at, '127.0.0.1', resolve));
    return made;
  };
  server = await listen(0);
  port = (server.address() as AddressInfo).port;
  self.issuer = `https://localhost:${port}`;
  current = await makeProvider();
  return self;
}

async function makeCertificate(
  folder: string,
): Promise<{ certificate: string; privateKey: string; root: string }> {
  const openssl = (...args: string[]) => run(tool('openssl').path, args, { cwd: folder });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const own = ['-keyout', 'ca.key', '-out', 'ca.crt'];
  await openssl('req', '-x509', ...key, '-days', '30', '-subj', '/CN=Root of a provider', ...own);
  await openssl('req', ...key, '-subj', '/CN=localhost', '-keyout', 'own.key', '-out', 'own.csr');
  await writeFile(join(folder, 'own.ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
  const by = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '20'];
  await openssl('x509', '-req', '-in', 'own.csr', ...by, '-extfile', 'own.ext', '-out', 'own.crt');
  const read = (name: string) => readFile(join(folder, name), 'utf8');
  return {
    certificate: await read('own.crt'),
    privateKey: await read('own.key'),
    root: await read('ca.crt'),
  };
}

/** Looks at the ID token that is about to leave, and puts another in its place where that is wanted. */
function watchAnswer(
  reply: ServerResponse,
  { forge = (idToken) => Promise.resolve(idToken), lastSid }: Pick<IdentityProvider, 'forge' | 'lastSid'>,
): void {
  const end = reply.end.bind(reply);
  reply.end = ((body: unknown) => {
    const tokens = JSON.parse(String(body)) as { id_token?: string };
    if (tokens.id_token === undefined) return end(body);
    const { sub, sid } = decodeJwt(tokens.id_token);
    if (sub !== undefined && typeof sid === 'string') lastSid.set(sub, sid);
    void forge(tokens.id_token).then((idToken) => {
      const changed = JSON.stringify({ ...tokens, id_token: idToken });
      reply.setHeader('content-length', Buffer.byteLength(changed));
      end(changed);
    });
    return reply;
  }) as typeof reply.end;
}

/** Follows redirects until they leave the provider. */
async function follow(url: string, root: string, jar: Map<string, string>): Promise<Record<string, string>> {
  const { origin } = new URL(url);
  let at = new URL(url);
  for (let hop = 0; hop < 10; hop += 1) {
    const { status, location, cookies, body } = await get(at, root, [...jar.values()].join('; '));
    for (const cookie of cookies) {
      const [pair = ''] = cookie.split(';');
      jar.set(pair.split('=')[0] ?? '', pair);
    }
    if (location === undefined) throw new Error(`the provider answered ${status}: ${body.slice(0, 500)}`);
    at = new URL(location, at);
    if (at.origin !== origin) return Object.fromEntries(at.searchParams);
  }
  throw new Error('the provider redirects without end');
}

function get(
  url: URL,
  ca: string,
  cookie: string,
): Promise<{ status: number; location: string | undefined; cookies: string[]; body: string }> {
  return new Promise((resolve, reject) => {
    request(url, { ca, agent: false, headers: cookie === '' ? {} : { cookie } }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (text: string) => (body += text));
      answer.on('end', () => {
        const { location, 'set-cookie': cookies = [] } = answer.headers;
        resolve({ status: answer.statusCode ?? 0, location, cookies, body });
      });
    })
      .on('error', reject)
      .end();
  });
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
