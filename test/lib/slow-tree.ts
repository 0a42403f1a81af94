/** RFC 6962 section 2.1 written down as it stands there, slowly and without a thought for size: what the real tree is compared with. */
import { createHash } from 'node:crypto';

const sha256 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

function largestPowerBelow(size: number): number {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

/** MTH(D[n]) */
export function slowRoot(data: readonly Uint8Array[]): Buffer {
  const [only] = data;
  if (only === undefined) return sha256();
  if (data.length === 1) return sha256(Uint8Array.of(0), only);
  const k = largestPowerBelow(data.length);
  return sha256(Uint8Array.of(1), slowRoot(data.slice(0, k)), slowRoot(data.slice(k)));
}

/** PATH(m, D[n]) */
export function slowPath(m: number, data: readonly Uint8Array[]): Buffer[] {
  if (data.length <= 1) return [];
  const k = largestPowerBelow(data.length);
  return m < k
    ? [...slowPath(m, data.slice(0, k)), slowRoot(data.slice(k))]
    : [...slowPath(m - k, data.slice(k)), slowRoot(data.slice(0, k))];
}

/** PROOF(m, D[n]); empty for m = 0, which the RFC leaves out. */
export function slowProof(m: number, data: readonly Uint8Array[]): Buffer[] {
  return m === 0 ? [] : subproof(m, data, true);
}

function subproof(m: number, data: readonly Uint8Array[], whole: boolean): Buffer[] {
  if (m === data.length) return whole ? [] : [slowRoot(data)];
  const k = largestPowerBelow(data.length);
  return m <= k
    ? [...subproof(m, data.slice(0, k), whole), slowRoot(data.slice(k))]
    : [...subproof(m - k, data.slice(k), false), slowRoot(data.slice(0, k))];
}
