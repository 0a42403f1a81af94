/** Shapes of single sign-on. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { Role } from '../schema.ts';
import { InvitationToken } from '../invitations/schema.ts';

const strict = { additionalProperties: false };
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);
/** What stands in tokens: names of claims, groups, acr and amr values. */
const Word = Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\p{Cc}]+$' });

/** What groups of the provider can give: never ownership, which stays in the hands of the owners here. */
export const GivenRole = Type.Union([Type.Literal('admin'), Type.Literal('auditor'), Type.Literal('member')]);
export type GivenRole = Static<typeof GivenRole>;

const choices = {
  enabled: Type.Boolean(),
  name: Type.String({ minLength: 1, maxLength: 40, description: 'On the button at sign-in' }),
  issuer: Type.String({ minLength: 9, maxLength: 500, pattern: '^https://[^\\s?#]+$' }),
  clientId: Type.String({ minLength: 1, maxLength: 500, pattern: '^[\\x20-\\x7e]+$' }),
  caCertificates: Nullable(
    Type.String({ maxLength: 65_536, description: 'PEM; when given, only these are trusted' }),
  ),
  scopes: Type.Array(Type.String({ pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]{1,100}$' }), { maxItems: 20 }),
  groupsClaim: Nullable(Word),
  /** Of several, the highest counts: administrator, auditor, member. */
  roleGroups: Type.Array(Type.Object({ group: Word, role: GivenRole }, strict), { maxItems: 100 }),
  teamGroups: Type.Array(Type.Object({ group: Word, teamId: Id }, strict), { maxItems: 200 }),
  /** Of whoever is in none of the groups with a role; null: they may not come in. */
  otherRole: Nullable(GivenRole),
  makesAccounts: Type.Boolean({ description: 'Whoever signs in and is not known becomes a person' }),
  /** Values of `acr` and `amr` by which the provider says that it asked for a second factor. */
  strongAcr: Type.Array(Word, { maxItems: 20 }),
  strongAmr: Type.Array(Word, { maxItems: 20 }),
  /** Whether a logout message that names only a session ends API keys too; one that names the person always does. */
  logoutEndsKeys: Type.Boolean(),
};

export const SingleSignOnChange = Type.Object(
  {
    ...choices,
    clientSecret: Type.Optional(
      Type.String({ minLength: 1, maxLength: 1024, description: 'Left out: it stays' }),
    ),
    version: Type.Optional(
      Type.String({
        maxLength: 20,
        description: 'Of the settings that were read; refused when they are others by now',
      }),
    ),
  },
  strict,
);
export type SingleSignOnChange = Static<typeof SingleSignOnChange>;

export const SingleSignOnReply = Type.Object({
  settings: Nullable(Type.Object({ ...choices, changedAt: Instant, version: Type.String() })),
  /** Since when people who are not owners have no credential here; null: they may have. */
  onlySince: Nullable(Instant),
  linkedPeople: Type.Integer(),
  /** To be entered at the provider, for the address under which this was asked. */
  redirectUri: Type.String(),
  logoutUri: Type.String(),
});
export type SingleSignOnReply = Static<typeof SingleSignOnReply>;

export const ProbeRequest = Type.Object(
  { issuer: choices.issuer, caCertificates: choices.caCertificates },
  strict,
);
export const ProbeReply = Type.Object({
  works: Type.Boolean(),
  /** What does not work, or is missing; in plain words. */
  problems: Type.Array(
    Type.Object({
      message: Type.String(),
      hint: Type.String(),
      /** Signing in works all the same. */
      minor: Type.Boolean(),
    }),
  ),
  facts: Type.Array(Type.Object({ label: Type.String(), value: Type.String() })),
});
export type ProbeReply = Static<typeof ProbeReply>;

/** Where the browser goes. */
export const ProviderAddress = Type.Object({ url: Type.String() });
export const BeginRequest = Type.Object({ invitation: Type.Optional(InvitationToken) }, strict);

/** What the provider gave the browser to bring back (RFC 6749, section 4.1.2; RFC 9207). */
export const ReturnRequest = Type.Object(
  {
    state: Type.String({ maxLength: 200 }),
    code: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    iss: Type.Optional(Type.String({ maxLength: 500 })),
    error: Type.Optional(Type.String({ maxLength: 100 })),
  },
  strict,
);
export type ReturnRequest = Static<typeof ReturnRequest>;
export const ReturnReply = Type.Object({
  done: Type.Union([Type.Literal('linked'), Type.Literal('proven')]),
});

export const LinkedIdentity = Type.Object({
  /** As the provider calls the person: an e-mail address, mostly. */
  label: Type.String(),
  issuer: Type.String(),
  linkedAt: Instant,
  lastUsedAt: Nullable(Instant),
});
export type LinkedIdentity = Static<typeof LinkedIdentity>;

export const OwnLink = Type.Object({
  /** Name of the provider; null: there is none. */
  provider: Nullable(Type.String()),
  linked: Nullable(LinkedIdentity),
  /** Why the link cannot be taken away; null: it can. */
  keptBecause: Nullable(Type.String()),
  /** Whether a fresh proof can be given at the provider. */
  proves: Type.Boolean(),
  /** Whether a password and factors may be kept here. */
  localCredentials: Type.Boolean(),
});
export type OwnLink = Static<typeof OwnLink>;

const Affected = Type.Object({ id: Id, name: Type.String(), email: Type.String(), role: Role });
export const OnlyPreview = Type.Object({
  since: Nullable(Instant),
  /** People who are not owners, can sign in, and are linked. */
  linked: Type.Integer(),
  passwordsRemoved: Type.Integer(),
  factorsRemoved: Type.Integer(),
  /** Administrators, and whoever else must have a second factor, where the provider does not vouch for one. */
  factorsKept: Type.Integer(),
  /** The first hundred of those who could not sign in any more. */
  lockedOut: Type.Array(Affected),
  lockedOutCount: Type.Integer(),
  /** Owners who sign in here with password and second factor. */
  breakGlassOwners: Type.Integer(),
  /** Why it cannot be switched on. */
  obstacles: Type.Array(Type.String()),
  /** People without a password here: what is to be done for them when it is switched off. */
  withoutPassword: Type.Integer(),
});
export type OnlyPreview = Static<typeof OnlyPreview>;
/** `linked` as the preview said, so that nobody is caught by what happened since. */
export const OnlyChange = Type.Object(
  { on: Type.Boolean(), linked: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })) },
  strict,
);
export type OnlyChange = Static<typeof OnlyChange>;
