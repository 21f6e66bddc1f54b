// CUDA's own file of this name comes with the compiler, not with torch's wheels. Host code needs none of it.
#pragma once
