import { createHash } from 'node:crypto';
import { Fault, type FaultCode } from '../../model/fault.ts';
import { InvalidCursor } from '../token-store.ts';
import { SCRIPTS } from './scripts.ts';

interface Meaning {
  readonly code: FaultCode;
  readonly message: string;
}

const unavailable = (message: string): Meaning => ({ code: 'store_unavailable', message });

/** What Redis answers (the first word of an error reply) when the state of the server is the trouble, not the call. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  OOM: { code: 'store_full', message: 'Redis has reached its maxmemory' },
  MISCONF: unavailable('Redis refuses writes because it cannot save to its disk'),
  READONLY: unavailable('this is a replica, which cannot be written to'),
  NOREPLICAS: unavailable('too few replicas are in step'),
  LOADING: unavailable('Redis is still loading its data'),
  BUSY: unavailable('Redis is busy with a script'),
  MASTERDOWN: unavailable('the replica has lost its primary'),
  CLUSTERDOWN: unavailable('the cluster is down'),
  MOVED: unavailable('the cluster is moving the key'),
  ASK: unavailable('the cluster is moving the key'),
  TRYAGAIN: unavailable('the cluster is moving the key'),
  NOAUTH: unavailable('Redis asks for a password'),
  WRONGPASS: unavailable('Redis does not accept the user and password'),
  NOPERM: unavailable('the Redis user lacks a permission'),
  WRONGTYPE: { code: 'internal', message: 'a key of the store holds something else' },
};

/** Of a command inside a script; Redis 7.0 says `ERR` in front of it, and none of them which command it was. */
const NOPERM_IN_SCRIPT = /The user executing the script can't|ACL failure in script/;

/** Whether the Redis user was refused what the store needs: a mistake of the set-up, which no repeat will mend. */
export function lacksPermission(error: unknown): boolean {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return false;
  return /(?:^|: -)NOPERM\b/.test(error.message) || NOPERM_IN_SCRIPT.test(error.message);
}

/** The commands of the script that failed, one of which the user may not run; empty where it was no script. */
function commandsOfScript(error: Error): readonly string[] {
  const command: unknown = 'command' in error ? error.command : null;
  if (typeof command !== 'object' || command === null || !('args' in command) || !Array.isArray(command.args))
    return [];
  // The first argument is the script or its digest; the others are no business of a message.
  const [script]: unknown[] = command.args;
  const { lua } = Object.values(SCRIPTS).find(({ lua }) => script === lua || script === sha1(lua)) ?? { lua: '' };
  return [...new Set([...lua.matchAll(/redis\.p?call\('([A-Z]+)'/g)].map(([, name]) => name ?? ''))].toSorted();
}

/** EVALSHA names a script by the SHA-1 of its text. */
function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/**
 * Whatever a command failed with as the fault that the store's contract promises. The error itself is not kept as
 * the cause: ioredis hangs the command's arguments on it, among them the password of a failed log-in.
 */
export function redisFault(error: unknown, place: string, describe: (error: unknown) => string): Error {
  if (error instanceof Fault || error instanceof InvalidCursor) return error;
  const text = describe(error);
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) {
    return new Fault('internal', `${place}: ${text}`);
  }
  if (error.name !== 'ReplyError') return new Fault('store_unavailable', `${place}: ${text}`);
  if (NOPERM_IN_SCRIPT.test(error.message)) {
    const commands = commandsOfScript(error);
    const which = commands.length === 0 ? '' : ` to run one of ${commands.join(', ')}`;
    const told = `${place}: the Redis user lacks a permission${which}, or for a key (ACL LOG of Redis says which): ${text}`;
    return new Fault('store_unavailable', told);
  }
  // Redis 6 wraps the error of a script's command: `ERR Error running script …: -OOM command not allowed …`.
  const word = /(?:^|: -)([A-Z]{3,})\b(?!.*: -[A-Z])/.exec(error.message)?.[1] ?? '';
  const meaning = MEANINGS[word];
  if (meaning === undefined) return new Fault('internal', `${place}: ${text}`);
  return new Fault(meaning.code, `${place}: ${meaning.message}: ${text}`);
}
