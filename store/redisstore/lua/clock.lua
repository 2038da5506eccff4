-- clock answers what time it is.

return now()
