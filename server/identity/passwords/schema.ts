/** Shapes of passwords and of the lists of leaked ones. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';
import { Password } from '../schema.ts';

export const PasswordChange = Type.Object(
  {
    password: Password,
    /** Asked of whoever has no second factor; the others have proven themselves with that. */
    currentPassword: Type.Optional(Password),
  },
  { additionalProperties: false },
);
export type PasswordChange = Static<typeof PasswordChange>;

export const LeakedLists = Type.Object({
  /** The one that comes with Holdfast. */
  own: Type.Object({ passwords: Type.Integer() }),
  /** The operator's; null: none. */
  given: Type.Union([
    Type.Object({
      passwords: Type.Integer(),
      sizeBytes: Type.Integer(),
      /** Seen at least so often. */
      atLeast: Type.Integer(),
      importedAt: Instant,
      /** False: its file is missing or damaged, and it does not count. */
      usable: Type.Boolean(),
    }),
    Type.Null(),
  ]),
});
export type LeakedLists = Static<typeof LeakedLists>;
