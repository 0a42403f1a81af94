/** What the build of the machine image wrote about itself. */
import { Type, type Static } from 'typebox';
import { SOFTWARE_VERSION } from '../../lib/version.ts';
import type { HostPlaces } from './host-places.ts';
import { readStateFile } from './state-file.ts';

export const ImageFacts = Type.Object({
  product: Type.Literal('holdfast'),
  version: Type.String({ minLength: 1, maxLength: 64 }),
  builtAt: Type.Optional(Type.String({ maxLength: 64 })),
  gitCommit: Type.Optional(Type.String({ maxLength: 64 })),
  region: Type.Optional(Type.String({ minLength: 2, maxLength: 64 })),
  allowedRegions: Type.Optional(Type.Array(Type.String({ minLength: 2, maxLength: 64 }), { maxItems: 50 })),
});
export type ImageFacts = Static<typeof ImageFacts>;

/** Where the build left nothing, the version is that of the program. */
export async function readImageFacts(places: Pick<HostPlaces, 'imageFile'>): Promise<ImageFacts> {
  return (
    (await readStateFile(places.imageFile, ImageFacts)) ?? { product: 'holdfast', version: SOFTWARE_VERSION }
  );
}
