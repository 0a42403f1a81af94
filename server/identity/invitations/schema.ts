/** Shapes of invitations. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { Email, Password, PersonName, Role } from '../schema.ts';

export const InvitationState = Type.Union([
  Type.Literal('open'),
  Type.Literal('expired'),
  Type.Literal('accepted'),
  Type.Literal('withdrawn'),
]);

export const Invitation = Type.Object({
  id: Id,
  email: Type.String(),
  role: Role,
  state: InvitationState,
  teams: Type.Array(Type.Object({ id: Id, name: Type.String() })),
  invitedAt: Instant,
  /** Name of who did; null for the console. */
  invitedBy: Type.Union([Type.String(), Type.Null()]),
  expiresAt: Instant,
});
export type Invitation = Static<typeof Invitation>;

export const InviteRequest = Type.Object({
  email: Email,
  role: Role,
  teamIds: Type.Optional(Type.Array(Id, { maxItems: 50 })),
});
export type InviteRequest = Static<typeof InviteRequest>;

export const SentInvitation = Type.Object({
  invitation: Invitation,
  /** Whether it goes out by mail. */
  mailed: Type.Boolean(),
  /** To hand over where no mail can be sent. Secret, shown this once. */
  link: Type.Optional(Type.String()),
});
export type SentInvitation = Static<typeof SentInvitation>;

/** 32 random bytes, base64url. */
export const InvitationToken = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
export const LookRequest = Type.Object({ token: InvitationToken });
export const InvitationLook = Type.Object({ email: Type.String(), role: Role, expiresAt: Instant });
export type InvitationLook = Static<typeof InvitationLook>;
export const AcceptRequest = Type.Object({ token: InvitationToken, name: PersonName, password: Password });
export type AcceptRequest = Static<typeof AcceptRequest>;

export const InvitationsQuery = Type.Object({
  state: Type.Optional(InvitationState),
  search: Type.Optional(Type.String({ maxLength: 200 })),
});
export type InvitationsQuery = Static<typeof InvitationsQuery>;
