/** Shapes of the HTTPS certificate as people see and change it. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';

export const CertificateState = Type.Object({
  /** `own`: made by the appliance itself, which no browser knows. `configured`: by HOLDFAST_TLS_CERT. `acme`: fetched by itself. */
  source: Type.Enum(['own', 'installed', 'configured', 'acme']),
  subject: Type.String(),
  issuer: Type.String(),
  selfSigned: Type.Boolean(),
  /** Host names and addresses for which it counts. */
  names: Type.Array(Type.String()),
  key: Type.String(),
  validFrom: Instant,
  validTo: Instant,
  /** SHA-256, `AA:BB:…`. */
  fingerprint: Type.String(),
  /** Of its authorities, as far as the appliance sends them. */
  chain: Type.Array(Type.Object({ subject: Type.String(), validTo: Instant })),
  /** A request whose certificate has not come yet. */
  request: Type.Union([
    Type.Object({ pem: Type.String(), names: Type.Array(Type.String()), createdAt: Instant }),
    Type.Null(),
  ]),
});
export type CertificateState = Static<typeof CertificateState>;

const strict = { additionalProperties: false };

export const InstallCertificateRequest = Type.Object(
  {
    /** PEM; those of its authorities may follow. */
    certificate: Type.String({ minLength: 64, maxLength: 65_536 }),
    /** PEM, without a passphrase. Left out: the key of the request that waits. */
    key: Type.Optional(Type.String({ minLength: 32, maxLength: 32_768 })),
  },
  strict,
);
export type InstallCertificateRequest = Static<typeof InstallCertificateRequest>;

const HOST =
  '(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*';
export const HOST_PATTERN = HOST.slice('(?=.{1,253}$)'.length);
const ADDRESS_6 = '[0-9A-Fa-f:]{2,39}';

export const CertificateRequestRequest = Type.Object(
  {
    names: Type.Array(Type.String({ pattern: `^(${HOST}|${ADDRESS_6})$`, maxLength: 253 }), {
      minItems: 1,
      maxItems: 20,
    }),
  },
  strict,
);
