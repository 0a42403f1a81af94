/**
 * A whole appliance for tests of rules and routes: real PostgreSQL, a real keyd in its own process, the real application
 * reached by `inject`. Only the network and the supervisor are missing; tests that need those start `holdfast serve`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance, InjectOptions } from 'fastify';
import type { Deps } from '../../server/deps.ts';
import {
  connectKeyd,
  credentialPath,
  createKeydCredentials,
  openSealer,
  answerKitChallenge,
  generateAgeIdentity,
} from '../../server/keys/index.ts';
import { systemClock, type Clock } from '../../server/lib/clock.ts';
import { childEnvironment, loadConfig } from '../../server/lib/config.ts';
import { dataPaths, openDataFolder } from '../../server/lib/data-folder.ts';
import { createLog } from '../../server/lib/log.ts';
import { listenForRuns } from '../../server/lib/run-listener.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { SOFTWARE_VERSION } from '../../server/lib/version.ts';
import { quickTmpdir } from './memory-folder.ts';
import { addTestPasskey, proveAgain, signInAs } from './sign-in.ts';
import { softwarePasskey } from './software-passkey.ts';
import { createTestDatabase, type TestDatabase } from './postgres.ts';

export interface TestParts {
  deps: Deps;
  database: TestDatabase;
  dataDir: string;
  /** Set to jump in time; the parts read it through `deps.clock`. */
  clock: TestClock;
  /** Kills keyd as a power cut would. */
  killKeyd(): Promise<void>;
  close(): Promise<void>;
}

/** The real clock, moved by `offsetMs`. */
export interface TestClock extends Clock {
  offsetMs: number;
}

/** Data folder, database and keyring, without routes. */
export async function startTestParts(): Promise<TestParts> {
  const dataDir = await mkdtemp(join(quickTmpdir(), 'holdfast-test-'));
  const folder = await openDataFolder(dataDir, SOFTWARE_VERSION);
  const paths = dataPaths(dataDir);
  const [database, keyd] = await Promise.all([createTestDatabase(), startTestKeyd(dataDir)]);
  const clock = moveClock(0);
  const keys = await connectKeyd({
    socketPath: paths.keydSocket,
    credentialFile: credentialPath(paths.run, 'server'),
    role: 'server',
    clock: systemClock,
  });
  const sealer = openSealer(keys);
  const config = { ...loadConfig({}), dataDir, logLevel: 'error' as const };
  const { createSnapshotBrowser } = await import('../../server/backups/index.ts');
  const snapshotBrowser = createSnapshotBrowser({ keys, log: createLog('silent', 'test') });
  const { FIRST_LIMITS, openLogFiles } = await import('../../server/identity/index.ts');
  const requestLog = await openLogFiles(
    paths.requestLog,
    { clock, log: createLog('silent', 'test') },
    FIRST_LIMITS,
  );
  const runListener = listenForRuns(database.address, 'test', createLog('silent', 'test'));
  const deps: Deps = {
    config,
    dataDir,
    clock,
    log: createLog('silent', 'test'),
    db: database.db,
    databaseAddress: database.address,
    keys,
    sealer,
    origins: [],
    isClaimed: async () => {
      const { isClaimed } = await import('../../server/appliance/index.ts');
      return isClaimed(database.db);
    },
    banners: async () => {
      const { currentBanners } = await import('../../server/appliance/index.ts');
      return currentBanners({ db: database.db, keys, clock, config });
    },
    runListener,
    snapshotBrowser,
    requestLog,
  };
  return {
    deps,
    database,
    dataDir,
    clock,
    killKeyd: () => keyd.kill('SIGKILL'),
    close: async () => {
      await snapshotBrowser.stop();
      await requestLog.close();
      sealer.close();
      await runListener.close();
      await keys.close();
      await keyd.kill('SIGTERM');
      await database.drop();
      folder.lock.release();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** The real clock, so far ahead of what it is. */
export function moveClock(offsetMs: number): TestClock {
  return {
    offsetMs,
    now() {
      return new Date(systemClock.now().getTime() + this.offsetMs);
    },
    monotonicMs() {
      return systemClock.monotonicMs() + this.offsetMs;
    },
  };
}

/** keyd as its own process on the folder's keyring. */
export async function startTestKeyd(
  dataDir: string,
  crashAt = '',
): Promise<{ kill(signal: NodeJS.Signals): Promise<void>; ended: ReturnType<typeof endOf> }> {
  await createKeydCredentials(dataPaths(dataDir).run);
  const here = import.meta.dirname;
  const script = join(here, '..', '..', 'server', 'keyd.ts');
  const hook = crashAt === '' ? [] : ['--import', join(here, 'crash-at.ts')];
  const child = startProcess(process.execPath, [...hook, script], {
    env: childEnvironment({
      ...{ HOLDFAST_DATA: dataDir, HOLDFAST_LOG: 'error' },
      ...(crashAt === '' ? {} : { HOLDFAST_TEST_CRASH_AT: crashAt }),
    }),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = endOf(child);
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    void ended.then((end) => reject(new Error(`keyd ended before it was ready: ${JSON.stringify(end)}`)));
  });
  return {
    ended,
    kill: async (signal) => {
      child.kill(signal);
      await ended;
    },
  };
}

export interface TestReply<T = unknown> {
  status: number;
  body: T;
  headers: Record<string, string | string[] | number | undefined>;
}

/** Somebody who calls the API; `cookie` is empty for a stranger. */
export interface TestCaller {
  cookie: string;
  /** False: does not prove again who it is when it is asked to. */
  proves: boolean;
  call<T = Record<string, unknown>>(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    options?: InjectOptions,
  ): Promise<TestReply<T>>;
}

export interface TestAppliance extends TestParts {
  app: FastifyInstance;
  /** Behind the control socket. */
  console: TestCaller;
  /** Built when it is first asked for: few tests go that way. */
  consoleApp(): Promise<FastifyInstance>;
  claimCode: string;
  stranger: TestCaller;
  /** Claims with `OWNER` (once) and signs in. */
  claim(): Promise<TestCaller>;
  signIn(email: string, password: string): Promise<TestCaller>;
  /** Adds a person with that role and signs them in. */
  addPerson(
    role: 'admin' | 'auditor' | 'member' | 'owner',
  ): Promise<TestCaller & { userId: string; email: string }>;
  /** Somebody who has that cookie. */
  withCookie(cookie: string): TestCaller;
}

export const OWNER = { name: 'Ada Lovelace', email: 'ada@example.org', password: 'copper kettle sings 7' };
/** Under which `inject` reaches it. */
export const ORIGIN = 'https://localhost:80';
export const SETTINGS = {
  name: 'Testbed',
  stage: 'production',
  region: 'eu-north',
  allowedRegions: ['eu-north'],
};

export async function startTestAppliance(): Promise<TestAppliance> {
  const [parts, { buildApp, buildConsoleApp }, { prepareAppliance }, { prepareWorkspaces }] =
    await Promise.all([
      startTestParts(),
      import('../../server/app.ts'),
      import('../../server/appliance/index.ts'),
      import('../../server/workspaces/index.ts'),
    ]);
  const { deps } = parts;
  const { claimCode = '' } = await prepareAppliance(deps);
  await prepareWorkspaces(deps);
  const app = await whenReady(await buildApp(deps));
  let built: Promise<FastifyInstance> | undefined;
  const consoleApp = () => (built ??= buildConsoleApp(deps).then(whenReady));
  const signIn = async (email: string, password: string) => {
    const browser = browserOf(app);
    await signInAs(browser.call, ORIGIN, { email, password });
    return caller(app, browser.cookie());
  };
  return {
    ...parts,
    app,
    consoleApp,
    console: caller(consoleApp),
    claimCode,
    stranger: caller(app),
    signIn,
    claim: async () => {
      const browser = browserOf(app);
      const reply = await browser.call('POST', '/setup/claim', { code: claimCode, owner: OWNER });
      if (reply.status !== 201)
        throw new Error(`claim answered ${reply.status}: ${JSON.stringify(reply.body)}`);
      await addTestPasskey(browser.call, ORIGIN, softwarePasskey(OWNER.email));
      return caller(app, browser.cookie());
    },
    withCookie: (cookie) => caller(app, cookie),
    addPerson: async (role) => {
      const email = `${role}-${Math.random().toString(36).slice(2)}@example.org`;
      const userId = await addPerson(deps, role, email);
      return Object.assign(await signIn(email, OWNER.password), { userId, email });
    },
    close: async () => {
      await Promise.all([app.close(), built?.then((made) => made.close())]);
      await parts.close();
    },
  };
}

async function whenReady(app: FastifyInstance): Promise<FastifyInstance> {
  await app.ready();
  return app;
}

async function addPerson(
  deps: Deps,
  role: 'admin' | 'auditor' | 'member' | 'owner',
  email: string,
): Promise<string> {
  const { insertPerson, preparePerson } = await import('../../server/identity/index.ts');
  const { systemActor } = await import('../../server/audit/index.ts');
  const { writeTransaction } = await import('../../server/lib/db.ts');
  const person = await preparePerson(deps, { name: `A ${role}`, email, password: OWNER.password, role });
  await writeTransaction(deps.db, (tx) => insertPerson(tx, deps, person, systemActor('test')));
  return person.userId;
}

export interface TestKit {
  id: string;
  /** `AGE-SECRET-KEY-1…` */
  identity: string;
  repositoryId: string;
  trustRoot: string;
}

/** Names the appliance, then makes and proves a recovery kit as the wizard does. */
export async function proveTestKit(owner: TestCaller): Promise<TestKit> {
  await expectStatus(owner.call('PUT', '/settings/appliance', SETTINGS), 200);
  const { identity, recipient } = await generateAgeIdentity();
  const begun = await expectStatus(
    owner.call<{ kitId: string; challenge: string; repositoryId: string; trustRoot: string }>(
      'POST',
      '/recovery-kits',
      {
        recipient,
      },
    ),
    201,
  );
  const response = await answerKitChallenge(begun.kitId, identity, begun.challenge);
  await expectStatus(owner.call('POST', `/recovery-kits/${begun.kitId}/proof`, { response }), 200);
  return { id: begun.kitId, identity, repositoryId: begun.repositoryId, trustRoot: begun.trustRoot };
}

export async function expectStatus<T>(reply: Promise<TestReply<T>>, status: number): Promise<T> {
  const got = await reply;
  if (got.status !== status)
    throw new Error(`expected ${status}, got ${got.status}: ${JSON.stringify(got.body)}`);
  return got.body;
}

function caller(app: FastifyInstance | (() => Promise<FastifyInstance>), cookie = ''): TestCaller {
  const send = async (method: string, path: string, body: unknown, options: InjectOptions) => {
    const response = await (typeof app === 'function' ? await app() : app).inject({
      method: method as 'GET',
      url: path.startsWith('/health/') || path.startsWith('/api/') ? path : `/api/v1${path}`,
      ...(body === undefined ? {} : { payload: body as object }),
      ...options,
      headers: {
        ...(method === 'GET' ? {} : { 'x-holdfast': '1' }),
        ...(cookie === '' ? {} : { cookie }),
        ...options.headers,
      },
    });
    const renewed = response.headers['set-cookie'];
    if (cookie !== '' && renewed !== undefined) cookie = String([renewed].flat()[0]).split(';')[0] ?? '';
    return response;
  };
  const who: TestCaller = {
    get cookie() {
      return cookie;
    },
    proves: true,
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says what it expects
    call: async <T>(method: string, path: string, body?: unknown, options: InjectOptions = {}) => {
      let response = await send(method, path, body, options);
      if (who.proves && response.body.includes('"step_up_required"')) {
        await proveAgain((...asked) => who.call(...asked), ORIGIN, OWNER.password);
        response = await send(method, path, body, options);
      }
      const json = response.headers['content-type']?.includes('application/json') === true;
      const content: unknown = json && response.body !== '' ? JSON.parse(response.body) : response.body;
      return { status: response.statusCode, body: content as T, headers: response.headers };
    },
  };
  return who;
}

/** Keeps the cookies that it is given, as a browser does. */
export function browserOf(
  app: FastifyInstance,
  cookie = '',
): Pick<TestCaller, 'call'> & { cookie(): string } {
  const jar = new Map(cookie === '' ? [] : [[cookie.split('=')[0] ?? '', cookie]]);
  const cookies = () => [...jar.values()].join('; ');
  const call: TestCaller['call'] = async (method, path, body, options) => {
    // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the type is the caller's word
    const reply = await caller(app, cookies()).call<any>(method, path, body, options);
    for (const set of [reply.headers['set-cookie'] ?? []].flat()) {
      const [pair = ''] = String(set).split(';');
      const [name = '', value] = pair.split('=');
      if (value === '') jar.delete(name);
      else jar.set(name, pair);
    }
    return reply;
  };
  return { call, cookie: cookies };
}
