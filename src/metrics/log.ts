import { type DestinationStream, destination, pino } from 'pino';
import { redactFields, redactText } from './redact.ts';

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export type LogFields = Readonly<Record<string, unknown>>;

/** What the rooms see of the log: an event's fields, and a message for people that holds no values. */
export interface Logger {
  error(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  debug(fields: LogFields, message: string): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Stands in every line where several processes are one gateway; 0 is the one that watches the others. */
  readonly worker?: number;
  /** Takes whole lines; by default standard error, written at once. */
  readonly destination?: { write(line: string): void };
}

/**
 * A log of JSON lines that no secret gets into: fields with telling names are left out, tokens within any text are cut
 * down to their public id (`base/token-mask.ts`), and what comes out in the end is looked through once more.
 */
export function createLogger(options: LoggerOptions): Logger {
  // Synchronous: what is logged right before a crash is what matters most.
  const target: DestinationStream = options.destination ?? destination({ dest: 2, sync: true });
  const logger = pino(
    {
      level: options.level,
      base: { pid: process.pid, ...(options.worker === undefined ? {} : { worker: options.worker }) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      // pino's own serializer would take our copy of an Error for a foreign object.
      serializers: { err: (error: unknown) => error },
      hooks: { streamWrite: redactText },
    },
    target,
  );
  return {
    error: (fields, message) => write('error', fields, message),
    warn: (fields, message) => write('warn', fields, message),
    info: (fields, message) => write('info', fields, message),
    debug: (fields, message) => write('debug', fields, message),
  };

  function write(level: 'error' | 'warn' | 'info' | 'debug', fields: LogFields, message: string): void {
    if (logger.isLevelEnabled(level)) logger[level](redactFields(fields), '%s', message);
  }
}
