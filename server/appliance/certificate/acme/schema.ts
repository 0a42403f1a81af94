/** Shapes of fetching the certificate by ACME (RFC 8555). */
import { Type, type Static } from 'typebox';
import { Instant, Problem } from '../../../lib/shapes.ts';
import { HOST_PATTERN } from '../schema.ts';

export const AcmeChallenge = Type.Enum(['http-01', 'dns-01']);

export const AcmeSettings = Type.Object(
  {
    enabled: Type.Boolean(),
    /** Directory of the authority; https. */
    directoryUrl: Type.String({ pattern: '^https://[^\\s/@]+(/[^\\s]*)?$', maxLength: 500 }),
    /** The first is the common name. `*.` only with dns-01. */
    names: Type.Array(Type.String({ pattern: `^(\\*\\.)?${HOST_PATTERN}$`, maxLength: 253 }), {
      minItems: 1,
      maxItems: 20,
    }),
    challenge: AcmeChallenge,
    /** Certificate (PEM) by which the authority's own server is trusted, where that is not a public one. */
    authority: Type.Union([Type.String({ minLength: 64, maxLength: 65_536 }), Type.Null()]),
  },
  { additionalProperties: false },
);
export type AcmeSettings = Static<typeof AcmeSettings>;

export const AcmeChange = Type.Object(
  {
    ...AcmeSettings.properties,
    /** That the terms of the authority are agreed to; it gives no certificate without. */
    termsAgreed: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type AcmeChange = Static<typeof AcmeChange>;

export const AcmeState = Type.Object({
  ...AcmeSettings.properties,
  /** An order is under way. */
  busy: Type.Boolean(),
  /** Whether this machine answers on port 80, and whether the configuration names a hook for DNS. */
  canHttp: Type.Boolean(),
  canDns: Type.Boolean(),
  nextTryAt: Type.Union([Instant, Type.Null()]),
  lastTriedAt: Type.Union([Instant, Type.Null()]),
  renewedAt: Type.Union([Instant, Type.Null()]),
  problem: Type.Union([Problem, Type.Null()]),
});
export type AcmeState = Static<typeof AcmeState>;
