-- the operator's deed, beside its effect and in the same script; `who` is JSON, empty: nobody asked
if who ~= '' then redis.call('XADD', audit, '*', 'a', who) end
