/** Shapes of teams: groups of people that hold rights in workspaces together. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { PersonState } from '../people/schema.ts';
import { Role } from '../schema.ts';

export const TeamName = Type.String({ minLength: 1, maxLength: 100 });
export const TeamRequest = Type.Object({ name: TeamName });

export const Team = Type.Object({ id: Id, name: Type.String(), people: Type.Integer(), createdAt: Instant });
export type Team = Static<typeof Team>;

export const TeamDetail = Type.Object({
  ...Team.properties,
  members: Type.Array(
    Type.Object({
      id: Id,
      name: Type.String(),
      email: Type.String(),
      role: Role,
      state: PersonState,
      addedAt: Instant,
    }),
  ),
});
export type TeamDetail = Static<typeof TeamDetail>;
