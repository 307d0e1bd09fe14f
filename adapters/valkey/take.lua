-- One call against all policies of its quota, at once: contracts/quota.py says what `decide` and `charged` mean.
-- KEYS: one row for each count. ARGV: cost; 1 to charge without asking; then for each row the number of its limits, and of each limit
-- weight, leak, capacity and kind (0: does not hold for this call, 1: enforced, 2: on trial).
-- A row is text: when it was written (microseconds of this server), and the level of each limit then. It expires when all have run out.
-- Answers 1 or 0 (granted or not) and the levels afterwards; that of a policy on trial that would have refused as -1 - level.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, charge = tonumber(ARGV[1]), ARGV[2] == '1'
local granted, rows, before, after, a = 1, {}, {0}, {1}, 3
for k = 1, #KEYS do
  local held, numbers = redis.call('GET', KEYS[k]), {}
  if held then
    for number in string.gmatch(held, '%d+') do numbers[#numbers + 1] = tonumber(number) end
  end
  local at = math.max(now, numbers[1] or 0)
  local passed, row, lasts = at - (numbers[1] or at), {string.format('%.0f', at)}, 0
  for i = 1, tonumber(ARGV[a]) do
    local weight, leak, capacity, kind = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), ARGV[a + 4]
    a = a + 4
    local level = math.max(0, (numbers[i + 1] or 0) - passed * leak)
    local poured, told = level, level
    if kind ~= '0' then
      poured = level + cost * weight
      if charge then
        poured = math.max(level, math.min(poured, 2 * capacity))
      elseif poured > capacity then
        poured = level
        if kind == '1' then granted = 0 else told = -1 - level end
      end
      if told >= 0 then told = poured end
    end
    before[#before + 1], after[#after + 1], row[#row + 1] = level, told, string.format('%.0f', poured)
    lasts = math.max(lasts, poured / leak)
  end
  a = a + 1
  rows[k] = {table.concat(row, ' '), math.ceil(lasts / 1000) + 1}
end
if granted == 0 then return before end
for k, row in ipairs(rows) do redis.call('SET', KEYS[k], row[1], 'PX', row[2]) end
return after
