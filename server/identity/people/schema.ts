/** Shapes of the directory of people. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { Email, PersonName, Role } from '../schema.ts';

export const PersonState = Type.Union([Type.Literal('active'), Type.Literal('deactivated')]);

export const PersonEntry = Type.Object({
  id: Id,
  name: Type.String(),
  email: Type.String(),
  role: Role,
  state: PersonState,
  createdAt: Instant,
  lastSeenAt: Type.Union([Instant, Type.Null()]),
  teams: Type.Array(Type.Object({ id: Id, name: Type.String() })),
  /** Whether there is a password here. */
  password: Type.Boolean(),
  secondFactors: Type.Object({
    authenticatorApp: Type.Boolean(),
    passkeys: Type.Integer(),
    /** Not used up. */
    recoveryCodes: Type.Integer(),
    /** Whether the account must have one. */
    required: Type.Boolean(),
    /** Whether a second person is asked before somebody else takes them away. */
    needsApproval: Type.Boolean(),
  }),
});
export type PersonEntry = Static<typeof PersonEntry>;

export const PeopleQuery = Type.Object({
  /** Part of a name or an e-mail address. */
  search: Type.Optional(Type.String({ maxLength: 200 })),
  role: Type.Optional(Role),
  state: Type.Optional(PersonState),
  sort: Type.Optional(
    Type.Union(
      [
        Type.Literal('name'),
        Type.Literal('email'),
        Type.Literal('role'),
        Type.Literal('created'),
        Type.Literal('seen'),
      ],
      { default: 'name' },
    ),
  ),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')], { default: 'asc' })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 100_000, default: 0 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type PeopleQuery = Static<typeof PeopleQuery>;

/** A page of the audit log has 100 entries. */
const UUID = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}';
export const NamesQuery = Type.Object({
  ids: Type.String({
    ...{ maxLength: 3_699, pattern: `^${UUID}(,${UUID}){0,99}$` },
    description: 'Ids with commas between them',
  }),
});
export const Names = Type.Object({ items: Type.Array(Type.Object({ id: Id, name: Type.String() })) });

export const PeopleWarning = Type.Object({
  kind: Type.Union([Type.Literal('few-owners'), Type.Literal('many-admins')]),
  message: Type.String(),
});

export const PeoplePage = Type.Object({
  items: Type.Array(PersonEntry),
  /** How many match. */
  total: Type.Integer(),
  warnings: Type.Array(PeopleWarning),
});
export type PeoplePage = Static<typeof PeoplePage>;

export const PersonChange = Type.Object({ name: Type.Optional(PersonName), email: Type.Optional(Email) });
export type PersonChange = Static<typeof PersonChange>;
export const RoleChange = Type.Object({ role: Role });
const Reason = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: '^[^\\u0000-\\u001f\\u007f]*\\S[^\\u0000-\\u001f\\u007f]*$',
});
export const SecondFactorRemovalRequest = Type.Object({ reason: Reason }, { additionalProperties: false });
export const DeactivateSeveral = Type.Object(
  {
    userIds: Type.Array(Id, { minItems: 2, maxItems: 100, uniqueItems: true }),
    reason: Reason,
  },
  { additionalProperties: false },
);
export const ProfileChange = Type.Object({ name: PersonName });
export const PeopleSettings = Type.Object({
  /** A warning above this many administrators. */
  adminsAdvised: Type.Integer({ minimum: 1, maximum: 1000 }),
});
export type PeopleSettings = Static<typeof PeopleSettings>;
