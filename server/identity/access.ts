/**
 * Who may call which route. Guarantees: a route without `config.access` stops the server from starting, and would be
 * refused if it were called all the same; a request is decided before its body is read.
 */
// What a schema may say beside its shapes (tags, summary) is declared there.
import type {} from '@fastify/swagger';
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import { clientAddress } from '../lib/door/client-address.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Actor } from '../audit/index.ts';
import { findKeyPerson, keyHas, readBearer, type UsedKey } from './api-keys/find-key.ts';
import { refuseForgedRequest } from './request-forgery.ts';
import { RIGHTS, hasRight, type Access, type Right } from './rights.ts';
import type { Role, SignInMethod } from './schema.ts';
import { readSessionToken, sessionCookie } from './sessions/session-cookie.ts';
import {
  isStillSignedIn,
  findSessionOf,
  renewSession,
  type FoundSession,
  type Renewal,
  type SessionDeps,
} from './sessions/sessions.ts';
import { endStolenSession, followMove, sessionEnded, type TheftDeps } from './sessions/theft.ts';
import { requireFreshProof } from './sign-in/fresh-proof.ts';

/** A signed-in person, as far as a handler needs to know. */
export interface Person {
  userId: string;
  role: Role;
  sessionId: string;
  /** When they last proved who they are. */
  authenticatedAt: Date;
  /** By what. */
  methods: readonly SignInMethod[];
  /** A second factor is missing that they must have: nothing but adding one is open to them. */
  restricted: boolean;
  /** The key by which a program acts for this person; there is no session then, and `sessionId` is ''. */
  apiKey?: UsedKey;
  /** Content of no other workspace is there for whoever asks. */
  onlyWorkspaceId?: string;
}

export interface RouteAccess {
  method: string;
  url: string;
  access: Access;
  /** Whether it asks for a fresh proof. */
  stepUp: boolean;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    /** A request that a page makes by itself: it does not count as activity. */
    background?: boolean;
    /** Open to a session that lacks the second factor its person must have: the session itself, and adding a factor. */
    beforeSecondFactor?: boolean;
    /** Asks for a proof of the last minutes: somebody may have walked away from an open session. */
    stepUp?: boolean;
    /** Called by a machine outside, and looks at nothing but what is signed in its body: no browser's request is worth more here. */
    ownProof?: boolean;
  }
  interface FastifyInstance {
    /** Every route and who may call it; complete when the server is ready. */
    routeAccess: readonly RouteAccess[];
  }
  interface FastifyRequest {
    /** Who asks. @throws HoldfastError `unauthenticated` on a route that does not require a signed-in person. */
    readonly person: Person;
    /** For `recordAudit`. */
    actor: Actor;
    /** Absent unless the guard let a signed-in person through. */
    signedIn: Person | undefined;
    /** The API key that the request came with, also when it was then refused. */
    usedKey: UsedKey | undefined;
    /** Another token that the reply carries. */
    sessionRenewal: Renewal | undefined;
  }
}

export interface GuardDeps extends TheftDeps {
  /** Origins under which people reach the appliance, beside the request's own host. */
  origins: readonly string[];
  /** Whether the appliance has an owner; routes with access `setup` close when it has. */
  isClaimed(): Promise<boolean>;
}

/** Guards every route that is registered after this call, for people who come through a browser or the API. */
export function installAccessGuard(app: FastifyInstance, deps: GuardDeps): void {
  prepareRequests(app);
  app.addHook('onRequest', async (request) => {
    request.actor = { kind: 'user', address: clientAddress(request), requestId: request.id };
    if (request.is404) return;
    const bearer = readBearer(request.headers.authorization);
    const { access } = request.routeOptions.config;
    // A browser never sends a key by itself, so a request with one cannot be forged; it counts only where somebody is asked for.
    const ownProof = access === 'public' && request.routeOptions.config.ownProof === true;
    if (!ownProof && (bearer === undefined || typeof access !== 'object'))
      refuseForgedRequest(request, deps.origins);
    if (access === 'public') return;
    if (access === 'setup') {
      if (await deps.isClaimed()) throw alreadyClaimed();
      return;
    }
    if (access === undefined || access === 'console') throw noSuchAddress();
    if (bearer !== undefined) {
      await admitKey(deps, request, bearer, access.right);
      return;
    }
    const person = await requirePerson(deps, request);
    if (person.restricted && request.routeOptions.config.beforeSecondFactor !== true)
      throw secondFactorRequired();
    if (!hasRight(person.role, access.right)) throw roleRefused();
    request.signedIn = person;
    request.actor = { ...request.actor, id: person.userId, sessionId: person.sessionId };
    if (request.routeOptions.config.stepUp === true) await requireFreshProof(deps, person);
  });
  lookAgain(app, deps);
  renewTokens(app, deps);
}

/** Lets a program in by its key: to what both the key and its person may do, and never to what asks for a proof by a person. */
async function admitKey(
  deps: GuardDeps,
  request: FastifyRequest,
  bearer: string,
  right: Right,
): Promise<void> {
  if (readSessionToken(request.headers.cookie) !== undefined) {
    throw new HoldfastError(
      'invalid_input',
      'A request comes with a session or with an API key, not with both',
    );
  }
  const { key, person, refusal } = await findKeyPerson(deps, bearer, clientAddress(request));
  // Before it may be refused: both logs name a key that somebody still uses after its end, or from elsewhere.
  request.usedKey = key;
  request.actor = { ...request.actor, id: person.userId, label: `API key ${key.prefix}` };
  if (refusal !== undefined) throw refusal;
  if (person.restricted) throw secondFactorRequired();
  if (!keyHas(key, right) || !hasRight(person.role, right) || request.routeOptions.config.stepUp === true) {
    throw new HoldfastError('forbidden', `This API key does not have the right ${right}`, {
      hint: `It has: ${key.rights.filter((one) => hasRight(person.role, one)).join(', ')}.`,
    });
  }
  request.signedIn = person;
}

/**
 * Guards the routes of the console socket, which only the account that runs Holdfast and root can open: operations are
 * open to it, content that only members of a workspace may see is not.
 */
export function installConsoleGuard(app: FastifyInstance, account: string): void {
  prepareRequests(app);
  app.addHook('onRequest', async (request) => {
    const told = request.headers['x-holdfast-account'];
    const label = typeof told === 'string' && /^[\w.@$-]{1,32}$/.test(told) ? told : account;
    request.actor = { kind: 'console', label, requestId: request.id };
    if (request.is404) return;
    const { access } = request.routeOptions.config;
    if (access === undefined) throw noSuchAddress();
    if (typeof access !== 'string' && !RIGHTS[access.right].console) throw contentRefused();
  });
}

/**
 * The signed-in person behind a request to a public route, or undefined.
 */
export async function findPerson(deps: SessionDeps, request: FastifyRequest): Promise<Person | undefined> {
  const found = await lookUp(deps, request);
  return found.state === 'live' ? found.person : undefined;
}

async function lookUp(deps: SessionDeps, request: FastifyRequest): Promise<FoundSession> {
  const token = readSessionToken(request.headers.cookie);
  if (token === undefined) return { state: 'none' };
  const byItself =
    request.routeOptions.config.background === true && request.headers['x-holdfast-active'] !== '1';
  const background = byItself || request.headers['x-holdfast-background'] === '1';
  const { 'user-agent': userAgent } = request.headers;
  return findSessionOf(deps, { token, userAgent, address: clientAddress(request), active: !background });
}

/** @throws HoldfastError `unauthenticated`, `session_ended` */
async function requirePerson(deps: TheftDeps, request: FastifyRequest): Promise<Person> {
  const found = await lookUp(deps, request);
  if (found.state === 'none') throw notSignedIn();
  if (found.state === 'ended') throw sessionEnded(found.reason);
  if (found.state === 'stolen') {
    await endStolenSession(deps, found, request.actor, request.headers['user-agent']);
    throw sessionEnded(found.sign);
  }
  if (found.moved && (await followMove(deps, found.row, clientAddress(request), request.actor)))
    throw sessionEnded('likely-theft');
  request.sessionRenewal = found.renewal;
  return found.person;
}

/** A body that took longer to come than this: who sent its beginning may have lost the right meanwhile. */
const SLOW_BODY_MS = 1_000;

/** Somebody who holds an act back half sent must not finish it after their session was ended. */
function lookAgain(app: FastifyInstance, deps: GuardDeps): void {
  const letThrough = new WeakMap<FastifyRequest, number>();
  app.addHook('preParsing', async (request) => {
    letThrough.set(request, performance.now());
  });
  app.addHook('preHandler', async (request) => {
    const { signedIn: person } = request;
    const since = letThrough.get(request);
    if (person === undefined || since === undefined || performance.now() - since < SLOW_BODY_MS) return;
    if (!(await isStillSignedIn(deps, person))) throw notSignedIn();
    if (request.routeOptions.config.stepUp === true) await requireFreshProof(deps, person);
  });
}

/** A browser opens six connections at most: with so many in use, requests may wait in it that carry the token of before. */
const BUSY_REQUESTS = 4;

/**
 * Gives the reply the next token, just before it leaves: a reply that takes long must not bring an old one. A stream of events is not
 * counted as open: it stays for hours, and would hold the renewal back as long.
 */
function renewTokens(app: FastifyInstance, deps: GuardDeps): void {
  const open = new Map<string, number>();
  app.addHook('preHandler', async (request, reply) => {
    const id = request.signedIn?.sessionId;
    if (id === undefined || request.routeOptions.config.background === true) return;
    open.set(id, (open.get(id) ?? 0) + 1);
    reply.raw.once('close', () => {
      const left = (open.get(id) ?? 1) - 1;
      if (left > 0) open.set(id, left);
      else open.delete(id);
    });
  });
  app.addHook('onSend', async (request, reply) => {
    const { sessionRenewal: renewal, signedIn } = request;
    if (renewal === undefined || signedIn === undefined || reply.hasHeader('set-cookie')) return;
    if (!renewal.again && (open.get(signedIn.sessionId) ?? 0) > BUSY_REQUESTS) return;
    try {
      const token = await renewSession(deps, renewal);
      if (token !== undefined) reply.header('set-cookie', sessionCookie(token));
    } catch (error) {
      request.log.warn(
        { err: error },
        'The token of a session was not renewed; the next request tries again',
      );
    }
  });
}

/** Makes what a third-party plugin registers in this scope public: its routes cannot carry `config.access` themselves. */
export function openToEveryone(scope: FastifyInstance): void {
  scope.addHook('onRoute', (route) => {
    route.config = { ...route.config, access: route.config?.access ?? 'public' };
  });
}

function prepareRequests(app: FastifyInstance): void {
  app.decorateRequest('signedIn', undefined);
  app.decorateRequest('usedKey', undefined);
  app.decorateRequest('sessionRenewal', undefined);
  // The guard's own hook, the first of all, sets it on every request.
  app.decorateRequest('actor', null as unknown as Actor);
  app.decorateRequest('person', {
    getter(): Person {
      const person = this.signedIn;
      if (person === undefined) throw notSignedIn();
      return person;
    },
  });
  const routes: RouteOptions[] = [];
  const known: RouteAccess[] = [];
  app.decorate('routeAccess', known);
  app.addHook('onRoute', (route) => void routes.push(route));
  // Not in onRoute itself: a scope's own hook may still give access to what a third-party plugin registers there.
  app.addHook('onReady', async () => {
    const open: string[] = [];
    for (const route of routes) {
      const access = route.config?.access;
      for (const method of [route.method].flat()) {
        if (access === undefined) open.push(`${method} ${route.url}`);
        else known.push({ method, url: route.url, access, stepUp: route.config?.stepUp === true });
      }
    }
    if (open.length === 0) return;
    throw new HoldfastError('internal', `These routes do not say who may call them: ${open.join(', ')}`);
  });
}

function notSignedIn(): HoldfastError {
  return new HoldfastError('unauthenticated', 'Sign in first', { hint: 'The session may have ended.' });
}

function secondFactorRequired(): HoldfastError {
  return new HoldfastError('second_factor_required', 'A second factor is needed first', {
    hint: 'Open the console in a browser and add a passkey or an authenticator app.',
  });
}

function roleRefused(): HoldfastError {
  return new HoldfastError('forbidden', 'Your role does not allow this', {
    hint: 'Ask an owner of this appliance.',
  });
}

function contentRefused(): HoldfastError {
  return new HoldfastError(
    'forbidden',
    'The console does not open what belongs to the members of a workspace',
  );
}

function alreadyClaimed(): HoldfastError {
  return new HoldfastError('wrong_state', 'This appliance has an owner already', {
    hint: 'Sign in. A sole owner who lost the password gets back in at the console: holdfast recover-owner.',
  });
}

function noSuchAddress(): HoldfastError {
  return new HoldfastError('not_found', 'There is nothing at this address');
}
