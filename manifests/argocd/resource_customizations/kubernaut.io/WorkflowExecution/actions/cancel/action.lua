-- End the run: what was begun is finished, nothing more is begun. It can't be taken back.

if obj.spec.control == nil then
  obj.spec.control = {}
end
obj.spec.control.cancel = true
return obj
