// fastify with node's soap package: GET /prices?sku=a,b&location=0001 as somebody writes it by hand, without keys, quotas and versions.
// Arguments are the WSDL and the address of the system; prints its port, and ends with its standard input.
const fastify = require("fastify")(), soap = require("soap");

const offsets = {};
const midnight = (day, zone) => {
  const key = day + zone;
  if (!(key in offsets)) {
    const date = `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`;
    const name = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(new Date(`${date}T00:00:00Z`));
    const offset = name.find((part) => part.type === "timeZoneName").value.replace("GMT", "") || "Z";
    offsets[key] = `${date}T00:00:00${offset}`;
  }
  return offsets[key];
};
const zones = { DE: "Europe/Berlin", AT: "Europe/Vienna", FR: "Europe/Paris", GB: "Europe/London" };
const types = { VKP0: "regular", VKA0: "sale" }, units = { ST: "EA", KG: "KGM" };
const cents = (text) => {
  const found = /^(-?\d+)(?:\.(\d{1,2})0*)?$/.exec(text);
  if (!found) throw new Error(text);
  return Number(found[1] + (found[2] || "").padEnd(2, "0"));
};

(async () => {
  const client = await soap.createClientAsync(process.argv[2]);
  client.setEndpoint(process.argv[3]);
  const [login] = await client.LoginAsync({ USER: process.env.ERP_USER, PASSWORD: process.env.ERP_PASSWORD });
  client.addSoapHeader(`<s:SessionHeader xmlns:s="urn:sap-com:document:sap:soap:session"><s:SESSION_ID>${login.SESSION_ID}</s:SESSION_ID></s:SessionHeader>`);
  fastify.get("/prices", async (request) => {
    const item = request.query.sku.split(",").map((sku) => ({ MATNR: sku.padStart(18, "0") }));
    const [answer] = await client.GetPricesAsync({ T_MATNR: { item }, WERKS: request.query.location });
    const now = new Date(), at = now.toISOString();
    const provenance = [{ sourceSystem: "erp", asOf: at, receivedAt: at, via: "live" }];
    const items = [];
    for (const row of answer.T_PRICES.item) {
      const zone = zones[row.LAND1];
      const validFrom = row.DATAB === "00000000" ? undefined : midnight(row.DATAB, zone);
      const day = row.DATBI === "99991231" ? undefined : new Date(Date.UTC(+row.DATBI.slice(0, 4), +row.DATBI.slice(4, 6) - 1, +row.DATBI.slice(6) + 1));
      const validUntil = day && midnight(day.toISOString().slice(0, 10).replaceAll("-", ""), zone);
      if ((validFrom && new Date(validFrom) > now) || (validUntil && new Date(validUntil) <= now)) continue;
      items.push({
        sku: row.MATNR.replace(/^0+/, ""), priceType: types[row.KSCHL],
        value: { centAmount: cents(String(row.KBETR)), currencyCode: row.KONWA, fractionDigits: 2 },
        per: { value: String(row.KPEIN), unit: units[row.KMEIN] },
        taxIncluded: true, country: row.LAND1, locationId: row.WERKS, validFrom, validUntil, provenance,
      });
    }
    const place = (one) => `${one.sku} ${one.locationId || "~"} ${one.priceType === "sale" ? 0 : 1}`;
    return { items: items.sort((a, b) => (place(a) < place(b) ? -1 : 1)) };
  });
  await fastify.listen({ host: "127.0.0.1", port: 0 });
  console.log(String(fastify.server.address().port));
  process.stdin.on("end", () => process.exit(0)).resume();
})();
