/**
 * Where this machine stands, from what can be believed most: the cloud's metadata (cloud-init's instance data), then what the
 * image was built for. What a person declares counts only where neither says anything, and is kept by the application.
 */
import { join } from 'node:path';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { readFileIfPresent } from '../../lib/files.ts';
import type { HostPlaces } from './host-places.ts';
import { readImageFacts } from './image-facts.ts';
import type { RegionKnowledge } from './schema.ts';

/** Same as the application's, so that it can be taken over as it is. */
const REGION = /^[A-Za-z0-9][A-Za-z0-9 ._-]{1,63}$/;
const InstanceData = Type.Object({ v1: Type.Object({ region: Type.Optional(Type.Unknown()) }) });

export async function readRegion(places: HostPlaces): Promise<RegionKnowledge> {
  const image = await readImageFacts(places);
  const allowedRegions = image.allowedRegions ?? null;
  const told = await readMetadataRegion(places);
  if (told !== undefined) return { name: told, knownBy: 'metadata', allowedRegions };
  if (image.region !== undefined) return { name: image.region, knownBy: 'image', allowedRegions };
  return { name: null, knownBy: null, allowedRegions };
}

async function readMetadataRegion(places: HostPlaces): Promise<string | undefined> {
  const content = await readFileIfPresent(join(places.cloudRun, 'instance-data.json'));
  if (content === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(content.toString('utf8'));
    const region = Value.Check(InstanceData, value) ? value.v1.region : undefined;
    return typeof region === 'string' && REGION.test(region) ? region : undefined;
  } catch {
    // Cloud-init was cut off while it wrote; the next start knows more.
    return undefined;
  }
}
