// The least that a proxy on node:http and undici can be: it checks nothing and drops nothing but what ends with a
// connection. What the gateway takes beyond it is the gateway's own. Arguments: its own port, the upstream's port.
import { createServer } from 'node:http';
import { Pool } from 'undici';

const [port, upstream] = process.argv.slice(2);
const pool = new Pool(`http://127.0.0.1:${upstream}`, { connections: 256, pipelining: 1 });

class Relay {
  constructor(response) {
    this.response = response;
  }

  onRequestStart() {
    // Nothing is ended early here.
  }

  onResponseStart(controller, status) {
    const fields = controller.rawHeaders.map((part) => part.toString('latin1'));
    const kept = fields.filter((_part, i) => fields[i - (i % 2)].toLowerCase() !== 'connection');
    this.response.writeHead(status, kept);
  }

  onResponseData(_controller, part) {
    this.response.write(part);
  }

  onResponseEnd() {
    this.response.end();
  }

  onResponseError() {
    this.response.destroy();
  }
}

const server = createServer({ keepAliveTimeout: 600_000, optimizeEmptyRequests: true }, (request, response) => {
  pool.dispatch({ path: request.url, method: request.method }, new Relay(response));
});
server.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 }, () => process.stdout.write('ready\n'));
