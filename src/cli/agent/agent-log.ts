import { maskTokens } from '../../base/token-mask.ts';
import type { Output } from '../output.ts';

type Level = 'error' | 'warn' | 'info';

export type LogFields = Readonly<Record<string, string | number | null | undefined>>;

/** The agent's log, in the form of the gateway's: one JSON object a line on stderr, without any secret. */
export interface AgentLog {
  error(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
}

export function createAgentLog(output: Output): AgentLog {
  const write = (level: Level, fields: LogFields, msg: string): void => {
    const line = { level, time: new Date().toISOString(), pid: process.pid, ...fields, msg };
    output.note(maskTokens(JSON.stringify(line)));
  };
  return {
    error: (fields, message) => write('error', fields, message),
    warn: (fields, message) => write('warn', fields, message),
    info: (fields, message) => write('info', fields, message),
  };
}
