// The probes with the official TypeScript SDK: node probe.mjs SERVER SERVER IDLE_SECONDS
// Run from a folder that has @modelcontextprotocol/sdk in node_modules.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.cwd() + '/');
const sdk = async (name) =>
  import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${name}.js`)).href);
const { Client } = await sdk('index');
const { StreamableHTTPClientTransport } = await sdk('streamableHttp');

const [first, second, idle] = process.argv.slice(2);

/** The SDK's client of somebody at a server; what it sends can be made to name another session. */
class Somebody {
  static async at(url, token) {
    const somebody = new Somebody();
    Object.assign(somebody, { url, token, presents: null, id: null, status: 0 });
    somebody.transport = new StreamableHTTPClientTransport(new URL(url), {
      fetch: (_, init) => somebody.fetch(init),
    });
    somebody.client = new Client({ name: 'probe', version: '1' });
    await somebody.client.connect(somebody.transport);
    return somebody;
  }

  async fetch(init = {}) {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${this.token}`);
    // Not of the stream that the client listens on: it opens that when it likes.
    if (this.presents !== null && init.method === 'POST' && headers.has('mcp-session-id')) {
      headers.set('mcp-session-id', this.presents);
    }
    const response = await fetch(this.url, { ...init, headers });
    if (init.method === 'POST') this.status = response.status;
    this.id ??= response.headers.get('mcp-session-id');
    return response;
  }

  /** The HTTP status of a tool call. */
  async call(name, args = {}) {
    try {
      this.answer = await this.client.callTool({ name, arguments: args });
    } catch (why) {
      if (this.status < 400) throw why;
    }
    return this.status;
  }

  json() {
    return JSON.parse(this.answer.content[0].text);
  }

  close() {
    return this.transport.close();
  }
}

const told = (probe, status) => console.log(`${probe} ${status}`);
const ADA = 'token-of-ada';

const ada = await Somebody.at(first, ADA);
told('own', await ada.call('whoami'));
const there = await Somebody.at(second, 'renewed-token-of-ada');
there.presents = ada.id;
told('moved', await there.call('whoami'));

const bob = await Somebody.at(second, 'token-of-bob');
bob.presents = ada.id;
told('hijacked', await bob.call('whoami'));

await fetch(first, {
  method: 'DELETE',
  headers: { authorization: `Bearer ${ADA}`, 'mcp-session-id': ada.id },
});
told('zombie', await there.call('whoami'));

const phone = await Somebody.at(first, ADA);
const laptop = await Somebody.at(second, ADA);
await laptop.call('forget_me');
await laptop.call('forget_me_confirm', { token: laptop.json().token });
there.presents = phone.id;
told('forgotten', await there.call('whoami'));

const left = await Somebody.at(first, ADA);
await left.close();
await new Promise((resolve) => setTimeout(resolve, (Number(idle) + 1) * 1000));
const back = await Somebody.at(second, ADA);
back.presents = left.id;
told('idle', await back.call('whoami'));

await Promise.all([ada, there, bob, phone, laptop, back].map((somebody) => somebody.close()));
