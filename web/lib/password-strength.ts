/** What is said of a password while it is typed: by the server's own rule, except for leaks, which only the server knows. */
export {
  estimateStrength,
  lengthFault,
  type Strength,
} from '../../server/identity/passwords/password-rule.ts';
