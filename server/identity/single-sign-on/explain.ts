/** What went wrong on the way to the provider, in words by which an operator can do something about it. */
import { HoldfastError, messageOf } from '../../lib/errors.ts';

/** @param address of what was asked for. */
export function explainProvider(error: unknown, address: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { host, port } = URL.canParse(address) ? new URL(address) : { host: address, port: '' };
  const [code, said] = [codeOf(error), causes(error)];
  const [message, hint] = wordsFor(code, said, host, port);
  return new HoldfastError('unavailable', message, { hint, detail: said.slice(0, 300), cause: error });
}

function wordsFor(code: string, said: string, host: string, port: string): [message: string, hint: string] {
  if (/ENOTFOUND|EAI_AGAIN/.test(code))
    return [
      `The name ${host} is not known`,
      'Check how it is written, and the name servers of this machine.',
    ];
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|SIGNATURE_FAILURE/.test(code))
    return [
      `${host} shows a certificate that is not trusted (${code})`,
      'Where its certificate comes from an authority of your own, give the certificate of that authority.',
    ];
  if (/ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES|EPERM|ECONNRESET/.test(code))
    return [
      `${host} cannot be reached (${code})`,
      port === '' || port === '443'
        ? 'Check the address, the proxy and the firewalls between here and there.'
        : `Check the address. On a machine of ours the port ${port} must be among the outgoing ones of the server, under Appliance, Network.`,
    ];
  if (/TIMEOUT|TIMEDOUT|ABORT/i.test(code) || said.includes('timed out'))
    return [
      `${host} did not answer in time`,
      'Check the address, the proxy and the firewalls between here and there.',
    ];
  if (code === 'ETOOLONG')
    return [`The answer of ${host} is too long`, 'Check whether this is the right address.'];
  if (/SSL|TLS|EPROTO/.test(code))
    return [
      `No encrypted connection with ${host} came about`,
      'It must speak TLS 1.2 or newer at this address.',
    ];
  if (code === 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED')
    return [
      'The provider gives itself another name than the issuer that was entered',
      'Enter the issuer exactly as its description says, with or without a slash at the end.',
    ];
  if (/OAUTH_RESPONSE_IS_NOT_(CONFORM|JSON)|OAUTH_PARSE_ERROR|OAUTH_INVALID_RESPONSE/.test(code))
    return [
      `${host} has no description of an OpenID provider there`,
      'The issuer is the address before /.well-known/openid-configuration. Open that in a browser: it must show JSON.',
    ];
  return [`The provider ${host} does not answer as it should`, 'The log has its own words.'];
}

function codeOf(error: unknown): string {
  for (let one: unknown = error; one instanceof Error; one = one.cause)
    if ('code' in one && typeof one.code === 'string' && one.code !== '') return one.code;
  return error instanceof Error ? error.name : '';
}

function causes(error: unknown): string {
  const parts: string[] = [];
  for (
    let one: unknown = error;
    one !== undefined && parts.length < 4;
    one = one instanceof Error ? one.cause : undefined
  )
    parts.push(one instanceof Error ? messageOf(one) : typeof one === 'string' ? one : '');
  return parts
    .filter((part) => part !== '')
    .join(': ')
    .replaceAll(/\p{Cc}+/gu, ' ');
}
