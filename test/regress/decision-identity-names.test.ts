/*
 * The answer to a decision names every identity field, empty where there is nothing to say, so that a proxy copies it over what
 * the client has sent under that name. A token whose only scope is called `portcullis-subject` and that has no subject must not
 * make the gateway believe that the subject was said already: the client's own `Portcullis-Subject` would go on to the API.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

let upstream: TestUpstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await TestUpstream.start();
  gateway = await TestGateway.start({
    upstreams: { orders: upstream.url },
    policies: {
      'orders.yaml': 'api: orders\nupstream: orders\nrules: [ { name: r, path: /x, scopes: [portcullis-subject] } ]\n',
      'classes.yaml': 'classes: { service: { max_ttl: 1d, default_ttl: 1d, scopes: [portcullis-subject] } }\n',
    },
    config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }' },
  });
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

it('names every identity field, whatever the others say', async () => {
  const { token, id } = await gateway.issue({ scopes: ['portcullis-subject'] });
  const { status, headers } = await gateway.call('/.portcullis/authz/x', { token });
  const identity = Object.entries(headers).filter(([name]) => /^portcullis-(token-id|subject|scopes)$/.test(name));
  expect({ status, identity: Object.fromEntries(identity) }).toEqual({
    status: 200,
    identity: { 'portcullis-token-id': id, 'portcullis-subject': '', 'portcullis-scopes': 'portcullis-subject' },
  });
});
