import h5py, io, numpy as np
print(h5py.__version__, h5py.version.hdf5_version)
class S(io.BytesIO):
    cheat=False
    def readinto(self,b):
        if self.cheat:
            memoryview(b)[:]=b"\xaa"*len(b); return 0
        return super().readinto(b)
s=S()
with h5py.File(s,"w",rdcc_nbytes=0) as f:
    f.create_dataset("x",(8192,),np.uint8,chunks=(4096,),data=np.arange(8192)%7)
    f.flush(); s.cheat=True
    print(f["x"][:5])
    s.cheat=False
