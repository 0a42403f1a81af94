/** Shapes of SSH for a limited time: what hostd is asked, what it answers, what it keeps in memory. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../../lib/shapes.ts';
import { HostActor } from '../schema.ts';

const strict = { additionalProperties: false };

/** The one account that SSH lets in; it exists only while SSH is open. Certificates name it as their principal. */
export const SSH_ACCOUNT = 'holdfast-support';
export const SSH_MINUTES = { least: 15, most: 480, usual: 60 } as const;

export const OpenSshRequest = Type.Object(
  {
    actor: HostActor,
    /** Public key of the authority that signs the certificates, as OpenSSH writes it. Absent: the one of the last time. */
    authority: Type.Optional(Type.String({ minLength: 1, maxLength: 8_192 })),
    minutes: Type.Integer({ minimum: SSH_MINUTES.least, maximum: SSH_MINUTES.most }),
    /** Why, for the audit log. */
    reason: Type.String({
      minLength: 10,
      maxLength: 500,
      pattern: '^[^\\u0000-\\u001f\\u007f]*\\S[^\\u0000-\\u001f\\u007f]*$',
    }),
    /** From where; absent: the management networks. */
    networks: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { minItems: 1, maxItems: 20 })),
  },
  strict,
);
export type OpenSshRequest = Static<typeof OpenSshRequest>;

/** A public key as people compare it. */
export const SshKeyFacts = Type.Object({
  /** `SHA256:…`, as ssh shows it. */
  fingerprint: Type.String(),
  /** `ED25519`, `RSA`, `ECDSA`, with `-SK` for keys on a token. */
  kind: Type.String(),
  comment: Type.String(),
});
export type SshKeyFacts = Static<typeof SshKeyFacts>;

export const SshWindow = Type.Object({
  openedAt: Instant,
  until: Instant,
  port: Type.Integer(),
  /** Empty: from everywhere. */
  networks: Type.Array(Type.String()),
  reason: Type.String(),
  authority: SshKeyFacts,
});
export type SshWindow = Static<typeof SshWindow>;

export const SshState = Type.Object({
  /** Null: SSH is off. */
  open: Type.Union([SshWindow, Type.Null()]),
  account: Type.String(),
  /** The machine's own key; null until SSH was opened for the first time. */
  hostKey: Type.Union([SshKeyFacts, Type.Null()]),
  /** The authority of the last time, which counts again where none is named. */
  authority: Type.Union([SshKeyFacts, Type.Null()]),
});
export type SshState = Static<typeof SshState>;

export const OpenedSsh = Type.Object({
  state: SshState,
  /** The second factor, said this once and kept nowhere. */
  passphrase: Type.String(),
});
export type OpenedSsh = Static<typeof OpenedSsh>;
