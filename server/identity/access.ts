/**
 * Who may call which route. Guarantees: a route without `config.access` stops the server from starting, and would be
 * refused if it were called all the same; a request is decided before its body is read.
 */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import { clientAddress } from '../lib/door/client-address.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Actor } from '../audit/index.ts';
import { refuseForgedRequest } from './request-forgery.ts';
import { RIGHTS, hasRight, type Access } from './rights.ts';
import type { Role, SignInMethod } from './schema.ts';
import { readSessionToken } from './sessions/session-cookie.ts';
import { findLiveSession, type SessionDeps } from './sessions/sessions.ts';

/** A signed-in person, as far as a handler needs to know. */
export interface Person {
  userId: string;
  role: Role;
  sessionId: string;
  /** When they last proved who they are. */
  authenticatedAt: Date;
  /** By what. */
  methods: readonly SignInMethod[];
}

export interface RouteAccess {
  method: string;
  url: string;
  access: Access;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    /** A request that a page makes by itself: it does not count as activity. */
    background?: boolean;
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
  }
}

export interface GuardDeps extends SessionDeps {
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
    refuseForgedRequest(request, deps.origins);
    const { access } = request.routeOptions.config;
    if (access === 'public') return;
    if (access === 'setup') {
      if (await deps.isClaimed()) throw alreadyClaimed();
      return;
    }
    if (access === undefined || access === 'console') throw noSuchAddress();
    const person = await findPerson(deps, request);
    if (person === undefined) throw notSignedIn();
    if (!hasRight(person.role, access.right)) throw roleRefused();
    request.signedIn = person;
    request.actor = { ...request.actor, id: person.userId, sessionId: person.sessionId };
  });
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
  const token = readSessionToken(request.headers.cookie);
  if (token === undefined) return undefined;
  const background =
    request.routeOptions.config.background === true || request.headers['x-holdfast-background'] === '1';
  return findLiveSession(deps, token, { active: !background });
}

/** Makes what a third-party plugin registers in this scope public: its routes cannot carry `config.access` themselves. */
export function openToEveryone(scope: FastifyInstance): void {
  scope.addHook('onRoute', (route) => {
    route.config = { ...route.config, access: route.config?.access ?? 'public' };
  });
}

function prepareRequests(app: FastifyInstance): void {
  app.decorateRequest('signedIn', undefined);
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
        else known.push({ method, url: route.url, access });
      }
    }
    if (open.length === 0) return;
    throw new HoldfastError('internal', `These routes do not say who may call them: ${open.join(', ')}`);
  });
}

function notSignedIn(): HoldfastError {
  return new HoldfastError('unauthenticated', 'Sign in first', { hint: 'The session may have ended.' });
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
