// node's soap package on one answer: arguments are the WSDL and the answer's file; each line "N" on stdin runs it N times.
// Answers the rows that it read, then per line the CPU microseconds of one run.
const soap = require("soap"), fs = require("fs"), readline = require("readline");

soap.createClient(process.argv[2], (error, client) => {
  if (error) throw error;
  const answer = fs.readFileSync(process.argv[3], "utf8");
  const read = () => client.wsdl.xmlToObject(answer);
  console.log(read().Body.GetStockResponse.T_STOCK.item.length);
  readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const from = process.cpuUsage();
    for (let n = 0; n < Number(line); n++) read();
    const spent = process.cpuUsage(from);
    console.log((spent.user + spent.system) / Number(line));
  });
});
