/**
 * What each role may do: the one table behind the access of every route, the page of roles, and the test that tries every
 * route as everybody. What a person may do in one workspace is that workspace's own matter (`../workspaces/members.ts`); a
 * right only says which doors they may knock at.
 */
import { Type } from 'typebox';
import { Role } from './schema.ts';

interface RightFacts {
  title: string;
  description: string;
  roles: readonly Role[];
  /** Whether an API key may be given it. */
  apiKeys: boolean;
  /** Whether the console (root, or the account that runs Holdfast) has it: it is no person, and opens no content. */
  console: boolean;
}

const EVERYBODY: readonly Role[] = ['owner', 'admin', 'auditor', 'member'];
const ALL_BUT_AUDITORS: readonly Role[] = ['owner', 'admin', 'member'];
const OBSERVERS: readonly Role[] = ['owner', 'admin', 'auditor'];
const ADMINISTRATORS: readonly Role[] = ['owner', 'admin'];
const OWNERS_AND_AUDITORS: readonly Role[] = ['owner', 'auditor'];
const OWNERS: readonly Role[] = ['owner'];

/** In the order of the page that shows them. */
export const RIGHTS = {
  'account.own': {
    title: 'Own account',
    description: 'See and change what is one’s own: session, profile, ways of signing in.',
    roles: EVERYBODY,
    apiKeys: false,
    console: false,
  },
  'api-keys.own': {
    title: 'Own API keys',
    description:
      'Make, rotate and revoke keys by which programs act for oneself, and see what they asked for.',
    roles: EVERYBODY,
    apiKeys: false,
    console: false,
  },
  'files.read': {
    title: 'Read files',
    description: 'List and download in the workspaces one is a member of.',
    roles: ALL_BUT_AUDITORS,
    apiKeys: true,
    console: false,
  },
  'files.write': {
    title: 'Change files',
    description: 'Upload, rename, move, delete and restore in workspaces where one is editor or manager.',
    roles: ALL_BUT_AUDITORS,
    apiKeys: true,
    console: false,
  },
  'operations.read': {
    title: 'See operations',
    description: 'Overview, snapshots, targets, restore tests, jobs and the machine, without any content.',
    roles: OBSERVERS,
    apiKeys: true,
    console: true,
  },
  'backups.run': {
    title: 'Run backups and tests',
    description:
      'Take a snapshot, start a restore test, verify a target, cancel a job, acknowledge an alert.',
    roles: ADMINISTRATORS,
    apiKeys: true,
    console: true,
  },
  'backups.manage': {
    title: 'Manage backups',
    description: 'Add and retire targets, change schedules, forget snapshots, reclaim space.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: true,
  },
  'machine.manage': {
    title: 'Manage the machine',
    description: 'Updates, network, certificate, shares, power, health checks.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: true,
  },
  'people.read': {
    title: 'See people',
    description:
      'Who is here: names, roles, teams, state, the workspaces they belong to, and which kinds of second factors they have.',
    roles: OBSERVERS,
    apiKeys: false,
    console: true,
  },
  'people.manage': {
    title: 'Manage people',
    description:
      'Invite, rename, change roles and e-mail addresses, deactivate and reactivate, remove lost second factors.',
    roles: OWNERS,
    apiKeys: false,
    console: true,
  },
  'teams.manage': {
    title: 'Manage teams',
    description: 'Create and rename teams, add and remove their members.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: true,
  },
  'workspaces.manage': {
    title: 'Manage workspaces',
    description: 'Create workspaces and see all of them, without their content.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: true,
  },
  'workspaces.members': {
    title: 'Manage members of workspaces',
    description: 'Managers in their own workspaces, administrators in all: who belongs to it and as what.',
    roles: ALL_BUT_AUDITORS,
    apiKeys: false,
    console: false,
  },
  'access-reviews.take-part': {
    title: 'Take part in access reviews',
    description:
      'Managers see and decide about the members of their workspaces; owners, administrators and auditors see all of a review.',
    roles: EVERYBODY,
    apiKeys: false,
    console: false,
  },
  'access-reviews.read': {
    title: 'Export access reviews',
    description: 'The whole of a review with its decisions and audit entries.',
    roles: OBSERVERS,
    apiKeys: false,
    console: false,
  },
  'access-reviews.manage': {
    title: 'Begin and sign access reviews',
    description: 'Begin a review, decide about roles, accounts, teams and keys, and sign it.',
    roles: OWNERS,
    apiKeys: false,
    console: false,
  },
  'registers.read': {
    title: 'Read the registers',
    description: 'Confidentiality undertakings, background checks and training of everybody.',
    roles: OWNERS_AND_AUDITORS,
    apiKeys: false,
    console: false,
  },
  'registers.manage': {
    title: 'Keep the registers',
    description:
      'Enter, change and import undertakings, checks and training, and say what is due for newcomers.',
    roles: OWNERS,
    apiKeys: false,
    console: false,
  },
  'approvals.read': {
    title: 'See approvals',
    description: 'What waits for a second person or for its time, and what became of the rest.',
    roles: OBSERVERS,
    apiKeys: false,
    console: true,
  },
  'approvals.decide': {
    title: 'Decide approvals',
    description: 'Approve or refuse what another administrator asks for; withdraw what one asked for.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: false,
  },
  'audit.read': {
    title: 'Read the audit log',
    description: 'Search, verify and export the audit log.',
    roles: OBSERVERS,
    apiKeys: true,
    console: true,
  },
  'settings.read': {
    title: 'See settings',
    description: 'Settings of the appliance and the state of its recovery kits.',
    roles: OBSERVERS,
    apiKeys: true,
    console: true,
  },
  'settings.change': {
    title: 'Change settings',
    description: 'Change settings of the appliance, and how long the audit log is kept.',
    roles: OWNERS,
    apiKeys: false,
    console: true,
  },
  'api-keys.manage': {
    title: 'Manage API keys',
    description: 'See and revoke the API keys of everybody.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: false,
  },
  'mail.read': {
    title: 'Read the log of mail',
    description: 'What was sent to whom, with what result; never what was written.',
    roles: OBSERVERS,
    apiKeys: false,
    console: true,
  },
  'mail.manage': {
    title: 'Retry and cancel mail',
    description: 'Have a message sent again now, or not at all.',
    roles: ADMINISTRATORS,
    apiKeys: false,
    console: true,
  },
  'keys.manage': {
    title: 'Manage keys',
    description: 'Make, prove and withdraw recovery kits; disable and destroy keys.',
    roles: OWNERS,
    apiKeys: false,
    console: true,
  },
  'recovery.manage': {
    title: 'Set back and release',
    description:
      'Set the appliance back to a snapshot that another approves, undo it, end a quarantine, accept another host key of a target.',
    roles: OWNERS,
    apiKeys: false,
    console: true,
  },
  'machine.own': {
    title: 'Own the machine',
    description: 'Ways of unlocking the data volume, remote access by SSH.',
    roles: OWNERS,
    apiKeys: false,
    console: true,
  },
} as const satisfies Record<string, RightFacts>;

export type Right = keyof typeof RIGHTS;

/**
 * Who may call a route. `public`: anyone; `setup`: anyone, only while unclaimed; `console`: only through the console
 * socket; otherwise a signed-in person whose role has the right. Kept in each route's `config.access`; a route without one
 * stops the server from starting.
 */
export type Access = 'public' | 'setup' | 'console' | { right: Right };

export const RIGHT_NAMES = Object.keys(RIGHTS) as readonly Right[];
export const RightName = Type.Enum([...RIGHT_NAMES]);

const HELD: ReadonlyMap<Role, ReadonlySet<Right>> = new Map(
  EVERYBODY.map((role) => [role, new Set(RIGHT_NAMES.filter((right) => facts(right).roles.includes(role)))]),
);

/** What is said about a right. */
export function facts(right: Right): RightFacts {
  return RIGHTS[right];
}

/** Whether a role has a right. Asked for every request: two look-ups. */
export function hasRight(role: Role, right: Right): boolean {
  return HELD.get(role)?.has(right) === true;
}

/** All rights of a role, in the order of the table. */
export function rightsOf(role: Role): Right[] {
  return RIGHT_NAMES.filter((right) => hasRight(role, right));
}

/** What a role is for, as people read it. */
export const ROLE_WORDS: Record<Role, { title: string; description: string }> = {
  owner: {
    title: 'Owner',
    description: 'Everything, people, settings and keys included. At least two are advised.',
  },
  admin: {
    title: 'Administrator',
    description:
      'Runs operations, teams and the members of workspaces. No people, settings, keys or ownership.',
  },
  auditor: {
    title: 'Auditor',
    description: 'Reads evidence, the audit log and settings. Never sees content.',
  },
  member: { title: 'Member', description: 'Works in the workspaces they belong to.' },
};

export const RightsTable = Type.Object({
  roles: Type.Array(Type.Object({ role: Role, title: Type.String(), description: Type.String() })),
  rights: Type.Array(
    Type.Object({
      right: RightName,
      title: Type.String(),
      description: Type.String(),
      roles: Type.Array(Role),
      apiKeys: Type.Boolean(),
      console: Type.Boolean(),
    }),
  ),
});

/** The table as the API shows it. */
export function rightsTable() {
  return {
    roles: EVERYBODY.map((role) => ({ role, ...ROLE_WORDS[role] })),
    rights: RIGHT_NAMES.map((right) => ({ right, ...facts(right), roles: [...facts(right).roles] })),
  };
}
