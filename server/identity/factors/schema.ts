/** Shapes of second factors and of the steps of a sign-in. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

const Base64Url = Type.String({ minLength: 1, maxLength: 8192, pattern: '^[A-Za-z0-9_-]+={0,2}$' });
export const PasskeyName = Type.String({ minLength: 1, maxLength: 100 });
export const OneTimeCode = Type.String({ minLength: 6, maxLength: 12, pattern: '^[0-9 ]+$' });
const RecoveryCodeText = Type.String({ minLength: 8, maxLength: 64 });

/** What `navigator.credentials.get` gives, as JSON (Web Authentication, section 5.1.6). */
export const PasskeyAssertion = Type.Object({
  id: Base64Url,
  rawId: Base64Url,
  type: Type.Literal('public-key'),
  response: Type.Object({
    clientDataJSON: Base64Url,
    authenticatorData: Base64Url,
    signature: Base64Url,
    userHandle: Type.Optional(Type.Union([Type.String({ maxLength: 200 }), Type.Null()])),
  }),
  authenticatorAttachment: Type.Optional(Type.Union([Type.String({ maxLength: 50 }), Type.Null()])),
  clientExtensionResults: Type.Record(Type.String(), Type.Unknown()),
});
export type PasskeyAssertion = Static<typeof PasskeyAssertion>;

/** What `navigator.credentials.create` gives, as JSON. */
export const PasskeyAttestation = Type.Object({
  id: Base64Url,
  rawId: Base64Url,
  type: Type.Literal('public-key'),
  response: Type.Object({
    clientDataJSON: Base64Url,
    attestationObject: Type.String({ minLength: 1, maxLength: 65_536, pattern: '^[A-Za-z0-9_-]+={0,2}$' }),
    transports: Type.Optional(Type.Array(Type.String({ maxLength: 30 }), { maxItems: 10 })),
  }),
  authenticatorAttachment: Type.Optional(Type.Union([Type.String({ maxLength: 50 }), Type.Null()])),
  clientExtensionResults: Type.Record(Type.String(), Type.Unknown()),
});
export type PasskeyAttestation = Static<typeof PasskeyAttestation>;

export const FactorProof = Type.Union([
  Type.Object({ kind: Type.Literal('totp'), code: OneTimeCode }),
  Type.Object({ kind: Type.Literal('recovery-code'), code: RecoveryCodeText }),
  Type.Object({ kind: Type.Literal('passkey'), response: PasskeyAssertion }),
]);
export type FactorProof = Static<typeof FactorProof>;

/** How a signed-in person proves again who they are: by a second factor, where there is one. */
export const Proof = Type.Union([
  Type.Object({
    kind: Type.Literal('password'),
    password: Type.String({ minLength: 1, maxLength: 256 }),
  }),
  ...FactorProof.anyOf,
]);
export type Proof = Static<typeof Proof>;

export const FactorKind = Type.Union([
  Type.Literal('totp'),
  Type.Literal('passkey'),
  Type.Literal('recovery-code'),
]);
export type FactorKind = Static<typeof FactorKind>;

/** The password was right, and something else is asked for. */
export const SecondStep = Type.Object({
  ways: Type.Array(FactorKind),
  expiresAt: Instant,
});
export type SecondStep = Static<typeof SecondStep>;

export const Passkey = Type.Object({
  id: Id,
  name: Type.String(),
  createdAt: Instant,
  lastUsedAt: Type.Union([Instant, Type.Null()]),
  /** Kept by a service that copies it to other devices, as opposed to one device. */
  backedUp: Type.Boolean(),
  /** Host name that it was made for; it works under no other. */
  relyingParty: Type.String(),
});
export type Passkey = Static<typeof Passkey>;

/** How a person signs in, for their own page. */
export const SignInWays = Type.Object({
  passwordChangedAt: Type.Union([Instant, Type.Null()]),
  secondFactorRequired: Type.Boolean(),
  authenticatorApp: Type.Union([
    Type.Object({ confirmedAt: Instant, lastUsedAt: Type.Union([Instant, Type.Null()]) }),
    Type.Null(),
  ]),
  passkeys: Type.Array(Passkey),
  recoveryCodes: Type.Object({
    left: Type.Integer(),
    madeAt: Type.Union([Instant, Type.Null()]),
  }),
  /** Why no passkey can be made at this address; null: it can. */
  passkeysImpossible: Type.Union([Type.String(), Type.Null()]),
});
export type SignInWays = Static<typeof SignInWays>;

export const NewAuthenticatorApp = Type.Object({
  /** Base32, for typing. Shown once. */
  secret: Type.String(),
  /** For the QR code. */
  uri: Type.String(),
});
export type NewAuthenticatorApp = Static<typeof NewAuthenticatorApp>;

/** A factor was added. `recoveryCodes` when these are the first: shown once. */
export const FactorAdded = Type.Object({
  recoveryCodes: Type.Optional(Type.Array(Type.String())),
});
export type FactorAdded = Static<typeof FactorAdded>;

/** What the browser's WebAuthn call is given, in the form of `PublicKeyCredential…OptionsJSON`. */
export const PasskeyOptions = Type.Object({ options: Type.Unknown() });
