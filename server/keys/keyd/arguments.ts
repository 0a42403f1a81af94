/** Reading the arguments of a request: each is checked for type and length before it is used. */
import { HoldfastError } from '../../lib/errors.ts';

export type Arguments = Readonly<Record<string, unknown>>;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function invalid(name: string): HoldfastError {
  return new HoldfastError('invalid_input', `The key service was given a wrong ${name}`);
}

export function uuidArgument(args: Arguments, name: string): string {
  const value = args[name];
  if (typeof value !== 'string' || !UUID.test(value)) throw invalid(name);
  return value;
}

export function textArgument(args: Arguments, name: string, maxLength: number): string {
  const value = args[name];
  if (typeof value !== 'string' || value.length > maxLength) throw invalid(name);
  return value;
}

export function numberArgument(args: Arguments, name: string, limits: { from: number; to: number }): number {
  const value = args[name];
  if (!Number.isSafeInteger(value)) throw invalid(name);
  const number = Number(value);
  if (number < limits.from || number > limits.to) throw invalid(name);
  return number;
}

export function flagArgument(args: Arguments, name: string): boolean {
  const value = args[name] ?? false;
  if (typeof value !== 'boolean') throw invalid(name);
  return value;
}

export function objectArgument(args: Arguments, name: string): Arguments {
  const value = args[name];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(name);
  return value as Arguments;
}

export function listArgument(args: Arguments, name: string, maxLength: number): readonly unknown[] {
  const value = args[name];
  if (!Array.isArray(value) || value.length > maxLength) throw invalid(name);
  return value;
}

export function textListArgument(
  args: Arguments,
  name: string,
  limits: { items: number; length: number },
): string[] {
  return listArgument(args, name, limits.items).map((value) => {
    if (typeof value !== 'string' || value.length > limits.length) throw invalid(name);
    return value;
  });
}

/** @returns `value` when it is one of `allowed`. */
export function choiceArgument<T extends string>(args: Arguments, name: string, allowed: readonly T[]): T {
  const found = allowed.find((choice) => choice === args[name]);
  if (found === undefined) throw invalid(name);
  return found;
}
