#!lua flags=allow-oom
-- audit_note: a deed that has no effect a script of its own could have.
-- from: any
-- to: any
-- keys: audit
-- args: who
-- replies: OK
-- uses: audit
record('done')
return {'OK'}
