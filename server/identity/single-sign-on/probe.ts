/** Tries a provider before anybody signs in by it, and says in plain words what is wrong. */
import { messageOf, HoldfastError } from '../../lib/errors.ts';
import { limitedFetch } from './limited-fetch.ts';
import { discovered, fetchKeys, SIGNATURE_ALGORITHMS } from './provider.ts';
import type { ProbeReply } from './schema.ts';

type Problems = ProbeReply['problems'];

/** Never throws for what a provider or the way to it does. */
export async function probeProvider(asked: {
  issuer: string;
  caCertificates: string | null;
}): Promise<ProbeReply> {
  const fetched = limitedFetch(asked.caCertificates);
  try {
    const client = { clientId: 'probe', clientSecret: 'probe' };
    const metadata = (await discovered(asked.issuer, fetched, client)).serverMetadata();
    const problems = lookAt(metadata);
    const { keys } = await fetchKeys(fetched, metadata.jwks_uri ?? '');
    const usable = keys.filter(({ kty, use }) => kty !== 'oct' && use !== 'enc');
    if (usable.length === 0)
      problems.push(
        fatal('The provider publishes no key for signatures', 'Its administrator must make one.'),
      );
    return {
      works: problems.every(({ minor }) => minor),
      problems,
      facts: [
        { label: 'Issuer', value: metadata.issuer },
        { label: 'People sign in at', value: hostOf(metadata.authorization_endpoint) },
        { label: 'Keys for signatures', value: String(usable.length) },
        {
          label: 'Signs with',
          value: (metadata.id_token_signing_alg_values_supported ?? ['RS256']).join(', '),
        },
        { label: 'Says when somebody signs out', value: logoutWords(metadata) },
      ],
    };
  } catch (error) {
    const hint = error instanceof HoldfastError ? (error.hint ?? '') : '';
    return { works: false, problems: [fatal(messageOf(error), hint)], facts: [] };
  }
}

type Metadata = Awaited<ReturnType<typeof discovered>>['serverMetadata'] extends () => infer M ? M : never;

function lookAt(metadata: Metadata): Problems {
  const problems: Problems = [];
  if (metadata.authorization_endpoint === undefined || metadata.token_endpoint === undefined)
    problems.push(
      fatal('The provider names no place to sign in at', 'Check whether this is the right issuer.'),
    );
  if (metadata.jwks_uri === undefined)
    problems.push(
      fatal('The provider does not say where its keys are', 'Without them nothing it says can be checked.'),
    );
  for (const [what, address] of Object.entries(metadata))
    if (
      /_(endpoint|uri)$/.test(what) &&
      typeof address === 'string' &&
      !address.startsWith('https://') &&
      NEEDED.has(what)
    )
      problems.push(
        fatal(`${what} is no https address`, 'Its administrator must set its own address to https.'),
      );
  if (metadata.response_types_supported?.includes('code') === false)
    problems.push(fatal('The provider does not offer the code flow', 'Allow it for this client.'));
  if (metadata.code_challenge_methods_supported?.includes('S256') !== true)
    problems.push(
      lesser(
        'The provider does not say that it knows PKCE (S256)',
        'It is used all the same; most providers know it.',
      ),
    );
  const algorithms = metadata.id_token_signing_alg_values_supported ?? ['RS256'];
  if (!algorithms.some((one) => SIGNATURE_ALGORITHMS.includes(one)))
    problems.push(
      fatal(
        'The provider signs in no way that is taken here',
        `Let it use ${SIGNATURE_ALGORITHMS[0] ?? ''}.`,
      ),
    );
  if (metadata.backchannel_logout_supported !== true)
    problems.push(
      lesser(
        'The provider does not say that it tells when somebody signs out or leaves',
        'Sessions here then end by their own limits only, and API keys not at all: deactivate people here too.',
      ),
    );
  return problems;
}

const NEEDED = new Set(['authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri']);

function logoutWords(metadata: Metadata): string {
  if (metadata.backchannel_logout_supported !== true) return 'no';
  return metadata.backchannel_logout_session_supported === true ? 'yes, for each session' : 'yes';
}

function fatal(message: string, hint: string): Problems[number] {
  return { message, hint, minor: false };
}

function lesser(message: string, hint: string): Problems[number] {
  return { message, hint, minor: true };
}

function hostOf(address: string | undefined): string {
  return address !== undefined && URL.canParse(address) ? new URL(address).host : 'nowhere';
}
