/** The whole site: every address, what builds it and what shows it. Pages are loaded when they are first opened. */
import type { Component } from 'svelte';
import { queryText } from './api/client.ts';
import type { Right } from './api/shapes.ts';

export const paths = {
  overview: () => '/',
  files: (folderId?: string) => (folderId === undefined ? '/files' : `/files/${folderId}`),
  /** The states of the past that somebody may look into, beginning with a folder. */
  earlier: (folderId?: string) => `/earlier${queryText({ folder: folderId })}`,
  snapshots: () => '/snapshots',
  snapshot: (id: string) => `/snapshots/${id}`,
  snapshotContent: (id: string, folderId?: string, targetId?: string) =>
    `/snapshots/${id}/content${queryText({ folder: folderId, target: targetId })}`,
  pointInTime: () => '/point-in-time',
  restoreTests: () => '/restore-tests',
  newRestoreTest: (
    choice: {
      snapshot?: string;
      target?: string;
      moment?: string;
      step?: string;
      key?: string;
      mode?: string;
    } = {},
  ) => `/restore-tests/new${queryText(choice)}`,
  assertions: () => '/restore-tests/assertions',
  restoreTest: (id: string) => `/restore-tests/${id}`,
  targets: () => '/targets',
  newTarget: () => '/targets/new',
  target: (id: string) => `/targets/${id}`,
  keys: () => '/keys',
  newKit: () => '/keys/new-kit',
  quarantine: () => '/quarantine',
  keyRegister: (on?: string) => `/keys/register${queryText({ on })}`,
  requests: (filter: { id?: string; who?: string } = {}) => `/requests${queryText(filter)}`,
  audit: (filter: { object?: string; request?: string; type?: string; entry?: string } = {}) =>
    `/audit${queryText(filter)}`,
  people: () => '/people',
  person: (id: string) => `/people/${id}`,
  invitations: () => '/people/invitations',
  teams: () => '/people/teams',
  team: (id: string) => `/people/teams/${id}`,
  workspaces: () => '/people/workspaces',
  workspace: (id: string) => `/workspaces/${id}`,
  roles: () => '/people/roles',
  registers: () => '/people/registers',
  accessReviews: () => '/people/reviews',
  accessReview: (id: string) => `/people/reviews/${id}`,
  invitation: () => '/invitation',
  settings: () => '/settings',
  schedules: () => '/settings/schedules',
  apiKeys: () => '/api-keys',
  apiLog: (filter: { scope?: string; key?: string } = {}) => `/api-keys/log${queryText(filter)}`,
  mail: () => '/settings/mail',
  mailLog: () => '/settings/mail/log',
  appearance: () => '/settings/appearance',
  alerts: () => '/alerts',
  webhooks: () => '/alerts/webhooks',
  webhook: (id: string) => `/alerts/webhooks/${id}`,
  heartbeat: () => '/alerts/heartbeat',
  limits: () => '/alerts/limits',
  capacity: () => '/alerts/capacity',
  approvals: () => '/approvals',
  sessions: () => '/security/sessions',
  sessionSettings: () => '/settings/sessions',
  singleSignOn: () => '/settings/single-sign-on',
  /** Where the provider sends the browser back to. */
  providerReturn: () => '/sign-in/return',
  /** A window of its own, to prove at the provider who one is. */
  providerProof: () => '/sign-in/again',
  machine: () => '/appliance',
  unlockWays: () => '/appliance/unlock-ways',
  network: () => '/appliance/network',
  ssh: () => '/appliance/ssh',
  certificate: () => '/appliance/certificate',
  updates: () => '/appliance/updates',
  /** @param later a moment after the snapshot, which is gone on to from it by the log of that target. */
  setBack: (snapshot: string, later: { moment?: string; target?: string } = {}) =>
    `/appliance/set-back/${snapshot}${queryText(later)}`,
  hardening: () => '/appliance/hardening',
  shares: () => '/appliance/shares',
  security: () => '/security',
  profile: () => '/profile',
  resetPassword: () => '/reset-password',
  signInLink: () => '/sign-in-link',
  confirmAddress: () => '/confirm-address',
  setup: (step = '') => `/setup${step === '' ? '' : `/${step}`}`,
  run: (id: string) => `/runs/${id}`,
};

/** What a page is given: the parts of its address. */
export type PageComponent = Component<{ params: Record<string, string> }>;

interface Route {
  pattern: string;
  /** What a person's role must have to open it. */
  right: Right;
  load: () => Promise<{ default: PageComponent }>;
}

const route = (pattern: string, right: Right, load: () => Promise<unknown>): Route => ({
  pattern,
  right,
  load: load as Route['load'],
});

export const routes: readonly Route[] = [
  route('/', 'operations.read', () => import('./pages/appliance/OverviewPage.svelte')),
  route('/files', 'files.read', () => import('./pages/workspaces/FilesPage.svelte')),
  route('/files/:folderId', 'files.read', () => import('./pages/workspaces/FilesPage.svelte')),
  route('/earlier', 'files.read', () => import('./pages/backups/EarlierPage.svelte')),
  route('/snapshots', 'operations.read', () => import('./pages/backups/SnapshotsPage.svelte')),
  route('/snapshots/:id', 'operations.read', () => import('./pages/backups/SnapshotPage.svelte')),
  route('/snapshots/:id/content', 'files.read', () => import('./pages/backups/SnapshotContentPage.svelte')),
  route('/point-in-time', 'operations.read', () => import('./pages/backups/PointInTimePage.svelte')),
  route('/restore-tests', 'operations.read', () => import('./pages/restore-tests/RestoreTestsPage.svelte')),
  route('/restore-tests/new', 'backups.run', () => import('./pages/restore-tests/NewRestoreTestPage.svelte')),
  route(
    '/restore-tests/assertions',
    'operations.read',
    () => import('./pages/restore-tests/AssertionsPage.svelte'),
  ),
  route(
    '/restore-tests/:id',
    'operations.read',
    () => import('./pages/restore-tests/RestoreTestPage.svelte'),
  ),
  route('/targets', 'operations.read', () => import('./pages/backups/TargetsPage.svelte')),
  route('/targets/new', 'backups.manage', () => import('./pages/backups/NewTargetPage.svelte')),
  route('/targets/:id', 'operations.read', () => import('./pages/backups/TargetPage.svelte')),
  route('/keys', 'settings.read', () => import('./pages/appliance/KeysPage.svelte')),
  route('/keys/register', 'settings.read', () => import('./pages/appliance/KeyRegisterPage.svelte')),
  route('/keys/new-kit', 'keys.manage', () => import('./pages/appliance/NewKitPage.svelte')),
  route('/quarantine', 'operations.read', () => import('./pages/appliance/QuarantinePage.svelte')),
  route('/audit', 'audit.read', () => import('./pages/audit/AuditPage.svelte')),
  route('/requests', 'audit.read', () => import('./pages/identity/requests/RequestsPage.svelte')),
  route('/people', 'people.read', () => import('./pages/identity/people/PeoplePage.svelte')),
  route('/people/invitations', 'people.read', () => import('./pages/identity/people/InvitationsPage.svelte')),
  route('/people/teams', 'people.read', () => import('./pages/identity/people/TeamsPage.svelte')),
  route('/people/teams/:id', 'people.read', () => import('./pages/identity/people/TeamPage.svelte')),
  route(
    '/people/workspaces',
    'workspaces.manage',
    () => import('./pages/identity/people/WorkspacesPage.svelte'),
  ),
  route('/people/roles', 'account.own', () => import('./pages/identity/people/RolesPage.svelte')),
  route(
    '/people/reviews',
    'access-reviews.take-part',
    () => import('./pages/identity/access-reviews/AccessReviewsPage.svelte'),
  ),
  route(
    '/people/reviews/:id',
    'access-reviews.take-part',
    () => import('./pages/identity/access-reviews/AccessReviewPage.svelte'),
  ),
  route(
    '/people/registers',
    'registers.read',
    () => import('./pages/identity/registers/RegistersPage.svelte'),
  ),
  route('/people/:id', 'people.read', () => import('./pages/identity/people/PersonPage.svelte')),
  route(
    '/workspaces/:id',
    'workspaces.members',
    () => import('./pages/identity/people/WorkspacePage.svelte'),
  ),
  route('/settings', 'settings.read', () => import('./pages/appliance/SettingsPage.svelte')),
  route('/settings/schedules', 'operations.read', () => import('./pages/appliance/SchedulesPage.svelte')),
  route('/api-keys', 'api-keys.own', () => import('./pages/identity/api-keys/ApiKeysPage.svelte')),
  route('/api-keys/log', 'api-keys.own', () => import('./pages/identity/api-keys/ApiLogPage.svelte')),
  route('/settings/mail', 'settings.read', () => import('./pages/identity/mail/MailPage.svelte')),
  route('/settings/mail/log', 'mail.read', () => import('./pages/identity/mail/MailLogPage.svelte')),
  route('/alerts', 'operations.read', () => import('./pages/monitoring/AlertsPage.svelte')),
  route('/alerts/webhooks', 'settings.read', () => import('./pages/monitoring/WebhooksPage.svelte')),
  route('/alerts/webhooks/:id', 'settings.read', () => import('./pages/monitoring/WebhookPage.svelte')),
  route('/alerts/heartbeat', 'settings.read', () => import('./pages/monitoring/HeartbeatPage.svelte')),
  route('/alerts/limits', 'settings.read', () => import('./pages/monitoring/LimitsPage.svelte')),
  route('/alerts/capacity', 'operations.read', () => import('./pages/monitoring/CapacityPage.svelte')),
  route('/approvals', 'approvals.read', () => import('./pages/identity/approvals/ApprovalsPage.svelte')),
  route('/security/sessions', 'account.own', () => import('./pages/identity/security/SessionsPage.svelte')),
  route(
    '/settings/sessions',
    'settings.read',
    () => import('./pages/identity/security/SessionSettingsPage.svelte'),
  ),
  route(
    '/settings/single-sign-on',
    'settings.read',
    () => import('./pages/identity/single-sign-on/SingleSignOnPage.svelte'),
  ),
  route('/settings/appearance', 'account.own', () => import('./pages/appliance/AppearancePage.svelte')),
  route('/profile', 'account.own', () => import('./pages/identity/profile/ProfilePage.svelte')),
  route('/security', 'account.own', () => import('./pages/identity/security/SecurityPage.svelte')),
  route('/appliance', 'operations.read', () => import('./pages/appliance/machine/SystemPage.svelte')),
  route(
    '/appliance/unlock-ways',
    'operations.read',
    () => import('./pages/appliance/machine/UnlockWaysPage.svelte'),
  ),
  route(
    '/appliance/network',
    'operations.read',
    () => import('./pages/appliance/machine/NetworkPage.svelte'),
  ),
  route('/appliance/ssh', 'operations.read', () => import('./pages/appliance/machine/SshPage.svelte')),
  route(
    '/appliance/certificate',
    'operations.read',
    () => import('./pages/appliance/machine/CertificatePage.svelte'),
  ),
  route(
    '/appliance/updates',
    'operations.read',
    () => import('./pages/appliance/machine/UpdatesPage.svelte'),
  ),
  route(
    '/appliance/set-back/:snapshot',
    'recovery.manage',
    () => import('./pages/appliance/machine/set-back/SetBackPage.svelte'),
  ),
  route(
    '/appliance/hardening',
    'operations.read',
    () => import('./pages/appliance/machine/HardeningPage.svelte'),
  ),
  route('/appliance/shares', 'operations.read', () => import('./pages/appliance/machine/SharesPage.svelte')),
  route('/runs/:id', 'operations.read', () => import('./pages/runs/RunPage.svelte')),
];

/** The route of an address and its parts; undefined when there is none. */
export function matchRoute(path: string): { route: Route; params: Record<string, string> } | undefined {
  const parts = path.replace(/\/+$/, '').split('/');
  for (const candidate of routes) {
    const params = matchParts(candidate.pattern.replace(/\/$/, '').split('/'), parts);
    if (params) return { route: candidate, params };
  }
  return undefined;
}

function matchParts(pattern: string[], parts: string[]): Record<string, string> | undefined {
  if (pattern.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const given = parts[index] ?? '';
    if (part.startsWith(':')) params[part.slice(1)] = given;
    else if (part !== given) return undefined;
  }
  return params;
}
