/**
 * Addresses outside, which often hold a secret: they come in, are kept sealed, and are shown as their first part. What is kept is bound
 * to its row, so that one cannot be put in the place of another.
 */
import type { FieldContext, FieldSealer, KeyClient } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';

export interface SealDeps {
  keys: Pick<KeyClient, 'applianceKey'>;
  sealer: Pick<FieldSealer, 'seal' | 'open'>;
}

type SecretPart =
  'heartbeat-url' | 'heartbeat-failure-url' | 'webhook-url' | 'webhook-secret' | 'webhook-old-secret';

const field = (type: SecretPart, id: string): FieldContext => ({
  ...{ type, workspaceId: '', subjectId: '', objectId: id, version: '' },
});

export async function sealPart(deps: SealDeps, type: SecretPart, id: string, value: string): Promise<Buffer> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] = await deps.sealer.seal([{ keyId, purpose: 'secrets', context: field(type, id), value }]);
  if (sealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  return sealed;
}

export async function openPart(
  deps: SealDeps,
  type: SecretPart,
  id: string,
  sealed: Buffer,
): Promise<string> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [opened] = await deps.sealer.open([{ keyId, purpose: 'secrets', context: field(type, id), sealed }]);
  if (opened === undefined) throw new HoldfastError('internal', 'Opening gave nothing back');
  return opened.toString('utf8');
}

/** @throws HoldfastError `invalid_input`, which names what is wrong and never the address. */
export function checkAddress(text: string, allowHttp: boolean): URL {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new HoldfastError('invalid_input', 'This is no address that can be called', {
      hint: 'It looks like https://status.example.com/ping/3f0c…',
    });
  }
  if (url.protocol === 'http:' && !allowHttp) {
    throw new HoldfastError(
      'invalid_input',
      'The address begins with http://, which everybody on the way can read',
      {
        hint: 'Give an https address, or allow plain http for this one.',
      },
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new HoldfastError('invalid_input', 'The address holds a name or password before its host', {
      hint: 'Use an address whose path is the secret.',
    });
  }
  url.hash = '';
  return url;
}

/** Enough to tell one from another, and nothing of what is secret in it. */
export function showAddress(url: URL): string {
  const bare = url.pathname === '/' && url.search === '';
  return bare ? url.origin : `${url.origin}/…`;
}
