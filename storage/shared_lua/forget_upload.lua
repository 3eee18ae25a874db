-- Needs time, stored.
-- Forget the record of an upload; its bytes count no longer as stored.
local function forget_upload(user, upload)
  local key = UPLOAD .. user .. ':' .. upload
  local record = read(key, 'sha256', 'variant', 'payer', 'stored_bytes', 'stored_until')
  if record.sha256 and record.sha256 ~= '' then
    redis.call('DEL', UPLOAD_OF .. user .. ':' .. record.sha256 .. ':' .. record.variant)
  end
  if record.stored_until then store(record.payer, -record.stored_bytes, record.stored_until) end
  redis.call('DEL', key)
end
