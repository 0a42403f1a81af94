export {
  findPerson,
  installAccessGuard,
  installConsoleGuard,
  openToEveryone,
  type GuardDeps,
  type RouteAccess,
  type Person,
} from './access.ts';
export { PASSWORD_MAX_BYTES, PASSWORD_MIN_BYTES } from './password-policy.ts';
export {
  getPerson,
  hashNewPassword,
  insertPerson,
  listOwners,
  listPeople,
  preparePerson,
  rebuildEmailIndex,
  setPassword,
  type ListedPerson,
  type PeopleDeps,
  type PreparedPerson,
} from './people.ts';
export { identityRoutes } from './routes.ts';
export {
  ADMINISTRATORS,
  ANY_ROLE,
  Email,
  OWNER,
  Password,
  PersonName,
  READERS_OF_OPERATIONS,
  Role,
  Session,
  SignInRequest,
  User,
  type Access,
} from './schema.ts';
export { sessionCookie, SESSION_COOKIE } from './session-cookie.ts';
export { openSession, type OpenedSession, type SessionDeps } from './sessions.ts';
export { describeSession, signIn, type SignInDeps } from './sign-in.ts';
export { clearAttempts, countAttempt, throttleBucket } from './sign-in-throttle.ts';
