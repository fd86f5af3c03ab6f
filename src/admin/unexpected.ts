import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../metrics/log.ts';
import { Fault } from '../model/fault.ts';
import { refusalForFault } from './answer.ts';
import { type Refusal, refusal } from './problem.ts';

/** The refusals for what the framework finds wrong with a request, by its error code. */
const FRAMEWORK_ERRORS: Readonly<Record<string, Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: refusal('body_too_large', `The body is larger than ${LIMITS.adminBodyBytes} bytes.`),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: refusal(
    'media_type_unsupported',
    'The Content-Type is not one that this call takes.',
  ),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: refusal('request_malformed', 'The body is not as long as Content-Length says.'),
  FST_ERR_CTP_INVALID_JSON_BODY: refusal('request_malformed', 'The body is not valid JSON.'),
  FST_ERR_BAD_URL: refusal('request_malformed', 'The path is not valid percent-encoding.'),
  FST_ERR_MAX_PARAM_LENGTH: refusal('not_found', 'No such path; the API is described at /v1/openapi.json.'),
};

/** What a caller is told of something that was thrown: bland, with the cause in the log under the same request id. */
export function refusalForError(error: unknown, requestId: string, log: Logger): Refusal {
  const code = codeOf(error);
  const known = code === null || !Object.hasOwn(FRAMEWORK_ERRORS, code) ? undefined : FRAMEWORK_ERRORS[code];
  if (known !== undefined) return known;
  const refused = refusalForFault(error);
  if (!(error instanceof Fault) || error.code !== 'conflict')
    log.error({ err: error, request_id: requestId }, 'an admin call failed');
  return refused;
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}
