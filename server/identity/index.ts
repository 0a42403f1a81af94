export type { ReviewWorkspaces } from './access-reviews/collect-access.ts';
export { keepAccessReviews } from './access-reviews/review-schedule.ts';
export { reviewBanner } from './access-reviews/reviews.ts';
export { accessReviewRoutes } from './access-reviews/routes.ts';
export { apiKeyRoutes } from './api-keys/routes.ts';
export { revokeKeysOf, tellOfEndingKeys } from './api-keys/api-keys.ts';
export { installApiLog, pruneApiLog } from './api-keys/api-log.ts';
export {
  findPerson,
  installAccessGuard,
  installConsoleGuard,
  openToEveryone,
  type GuardDeps,
  type Person,
} from './access.ts';
export {
  findContact,
  hashNewPassword,
  insertPerson,
  listOwners,
  listPeople,
  namePeople,
  preparePerson,
  rebuildEmailIndex,
  setPassword,
  type ListedPerson,
  type PasswordDeps,
  type PeopleDeps,
} from './people/people.ts';
export { DEACTIVATE_SEVERAL, deactivateAll, lookAtPeople } from './people/deactivate-several.ts';
export type { PersonLifeDeps } from './people/person-life.ts';
export { listAdminIds, listAdministratorIds, listOwnerIds } from './people/queries.ts';
export { findPersonByEmail } from './people/find-by-email.ts';
export { nameTeams } from './teams/teams.ts';
export { answerAsks, type MagicLinkRule } from './mail-links/mail-links.ts';
export { leakedPasswordRoutes } from './passwords/console-routes.ts';
export type { LeakedLists } from './passwords/schema.ts';
export { remindOfRegisters } from './registers/reminders.ts';
export { registerRoutes } from './registers/routes.ts';
export { hasRight, RIGHT_NAMES, RIGHTS, type Access, type Right } from './rights.ts';
export { openLogFiles, type LogFiles } from './request-log/log-files.ts';
export { boundRequestLog, FIRST_LIMITS, logRequests } from './request-log/request-log.ts';
export { requestLogRoutes } from './request-log/routes.ts';
export { hasSecondFactor, removeAllFactors } from './factors/enrolment.ts';
export {
  lookAtFactors,
  REMOVE_SECOND_FACTORS,
  takeFactorsAway,
  type SecondFactorRemoval,
} from './factors/lost-factors.ts';
export { identityRoutes } from './routes.ts';
export { Email, Password, PersonName, Role, Session } from './schema.ts';
export { mayStill, settleApprovals, type ApprovalActs } from './approvals/decide.ts';
export { lookAtApprovalSettings, LOWER_WAITING, setApprovalSettings } from './approvals/list-approvals.ts';
export { requestApproval } from './approvals/request-approval.ts';
export { approvalRoutes } from './approvals/routes.ts';
export type { ApprovalSettings } from './approvals/schema.ts';
export { cleanSessions } from './sessions/list-sessions.ts';
export { requireFreshProof } from './sign-in/fresh-proof.ts';
export { sessionCookie } from './sessions/session-cookie.ts';
export { isStillSignedIn, mayRunOn, openSession, type OpenedSession } from './sessions/sessions.ts';
export { describeSession, signIn, type SignInDeps } from './sign-in/sign-in.ts';
export { sumUpRefusals } from './sign-in/refusals.ts';
export { clearAttempts, countAttempt, throttleBucket } from './sign-in/sign-in-throttle.ts';
