/**
 * What the door and the guard cost, on a machine that should do nothing else.
 *
 *   node scripts/bench/door.ts guard [--rounds 3000]
 *     A small read of somebody who is signed in beside the same read open to all, in one process; and the look-up alone.
 *   node scripts/bench/door.ts flood [--seconds 15] [--guessers 48]
 *     A whole appliance under wrong passwords, from one address and from two hundred: how long requests of others wait beside it, and
 *     how long the owner's own sign-in takes.
 */
import { parseArgs } from 'node:util';
import { measureFlood } from './door/flood.ts';
import { measureGuard } from './door/guard.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3000' },
    seconds: { type: 'string', default: '15' },
    guessers: { type: 'string', default: '48' },
  },
});
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const [mode] = positionals;
if (mode === 'guard') {
  await measureGuard(Number(options.rounds), say);
} else if (mode === 'flood') {
  await measureFlood({ seconds: Number(options.seconds), guessers: Number(options.guessers) }, say);
} else {
  process.stderr.write('node scripts/bench/door.ts guard|flood\n');
  process.exit(2);
}
